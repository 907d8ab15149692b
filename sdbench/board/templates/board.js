"use strict";
// The table: all rows in typed arrays, of which a page is shown. What is shown is in the address.
(() => {
  const PAGE = 50;
  const MOST_OPTIONS = 1000;
  const ROW = ["submission", "place", "torch", "diffusers", "resolution", "dtype", "setting", "image", "why", "n"];
  const NUMBERS = ["seconds", "low", "high", "memory"];
  // How a filter or a column finds its value: of the run, or of the row itself.
  const OF_RUN = ["chip", "ram", "os", "device", "model", "machine", "label", "cores"];
  const OF_ROW = ["torch", "diffusers", "resolution", "dtype", "setting", "image"];
  const FILTERS = ["chip", "ram", "os", "device", "torch", "diffusers", "model", "resolution", "dtype", "image", "setting"];
  const IMAGE = {
    right: ["right", "good"], "slightly-different": ["slightly different", "warning"],
    wrong: ["wrong", "bad"], unknown: ["not checked", "unknown"],
  };

  const data = { rows: 0, loaded: 0, pieces: 0, have: 0, words: {}, of: {}, columns: {} };
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const find = (selector) => document.querySelector(selector);
  const early = [];
  let started = false;

  // Files of data call this, in whatever order they arrive.
  window.sdbenchBoard = (kind, number, document) => {
    early.push([kind, number, document]);
    if (started) accept();
  };

  function accept() {
    for (const kind of ["board", "submissions", "piece"]) {
      for (let at = 0; at < early.length; at += 1) {
        const [what, number, document] = early[at];
        const ready = kind === "board" || (data.ready && (kind === "submissions" || data.submissions));
        if (what !== kind || !ready) continue;
        early.splice(at, 1);
        at -= 1;
        if (kind === "board") takeBoard(document);
        else if (kind === "submissions") takeSubmissions(document);
        else takePiece(document);
      }
    }
  }

  function takeBoard(document) {
    data.rows = document.rows;
    data.pieces = document.pieces;
    Object.assign(data.words, document.words);
    for (const name of ROW) data.columns[name] = new Int32Array(data.rows);
    for (const name of NUMBERS) data.columns[name] = new Float64Array(data.rows).fill(NaN);
    data.ready = true;
  }

  function takeSubmissions(document) {
    for (const [name, places] of Object.entries(document.columns)) {
      data.of[name] = Int32Array.from(places);
      data.words[name] = document.words[name];
    }
    data.submissions = true;
    fillFilters();
    readAddress();
  }

  function takePiece(piece) {
    const at = data.loaded;
    for (const name of ROW) data.columns[name].set(piece[name], at);
    for (const name of NUMBERS) {
      const column = data.columns[name];
      piece[name].forEach((value, row) => { if (value !== null) column[at + row] = value; });
    }
    data.loaded += piece.submission.length;
    data.have += 1;
    const done = data.have >= data.pieces;
    // A sorted or narrow view changes with every piece: it is made for the first and the last.
    if (done || data.have === 1 || (state.sort === "" && matching.length < PAGE)) apply();
    else say();
    if (!done) next(data.have);
  }

  function next(number) {
    const script = document.createElement("script");
    script.src = `data/cases-${String(number).padStart(4, "0")}.js`;
    script.addEventListener("error", () => {
      find(".status").textContent = `A part of the data could not be read: ${script.src.split("/").pop()}`;
    });
    document.head.append(script);
  }

  // --- what is shown ---

  const state = { q: "", ranked: "", sort: "", page: 1 };
  FILTERS.forEach((name) => { state[name] = ""; });
  let matching = new Int32Array(0);

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(state)) state[name] = given.get(name) ?? "";
    state.page = Math.max(1, Number.parseInt(given.get("page") ?? "1", 10) || 1);
    const key = state.sort.replace(/^-/, "");
    if (!keys().includes(key)) state.sort = "";
    for (const control of find(".filters").elements) {
      if (!control.name) continue;
      if (control.type === "checkbox") control.checked = state[control.name] === "1";
      else choose(control, state[control.name]);
    }
  }

  // A value of the address that no row has is an option too, so that one sees what is asked for.
  function choose(control, value) {
    if (control.tagName === "SELECT" && ![...control.options].some((option) => option.value === value)) {
      control.append(new Option(value, value));
    }
    control.value = value;
  }

  function writeAddress() {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      if (value !== "" && !(name === "page" && value === 1)) given.set(name, value);
    }
    const hash = given.toString();
    const address = hash ? `#${hash}` : location.pathname.split("/").pop() || "index.html";
    if (`#${hash}` !== (location.hash || "#")) history.replaceState(null, "", address);
  }

  const lookup = (name) =>
    OF_RUN.includes(name)
      ? { code: data.of[name], through: data.columns.submission, words: data.words[name] }
      : { code: null, through: data.columns[name], words: data.words[name] };

  // For each filter a mask over the values; for each word of the search one over all texts.
  function tests() {
    const found = [];
    for (const name of FILTERS) {
      if (state[name] === "") continue;
      const { code, through, words } = lookup(name);
      const wanted = words.indexOf(state[name]);
      if (code === null) found.push((row) => through[row] === wanted);
      else found.push((row) => code[through[row]] === wanted);
    }
    if (state.ranked === "1") found.push((row) => data.columns.place[row] > 0);
    for (const term of state.q.toLowerCase().split(/\s+/).filter(Boolean)) found.push(search(term));
    return found;
  }

  function search(term) {
    const holds = (name) =>
      Uint8Array.from(data.words[name], (word) => (String(word).toLowerCase().includes(term) ? 1 : 0));
    const ofRuns = OF_RUN.filter((name) => name !== "cores").map((name) => [data.of[name], holds(name)]);
    const runs = Uint8Array.from(data.of.chip, (_, run) => (ofRuns.some(([code, mask]) => mask[code[run]]) ? 1 : 0));
    const rows = OF_ROW.map((name) => [data.columns[name], holds(name)]);
    const { submission } = data.columns;
    return (row) => {
      if (runs[submission[row]]) return true;
      for (const [column, mask] of rows) if (mask[column[row]]) return true;
      return false;
    };
  }

  function orderOf(key) {
    const { columns } = data;
    if (NUMBERS.includes(key) || key === "n") return (row) => columns[key][row];
    if (key === "place") return (row) => columns.place[row] || NaN;
    const { code, through, words } = lookup(key);
    const order = words.map((word, at) => [word, at]).sort((one, other) => collator.compare(one[0], other[0]));
    const rank = new Float64Array(words.length);
    order.forEach(([word, at], place) => { rank[at] = word === "–" ? NaN : place; });
    return code === null ? (row) => rank[through[row]] : (row) => rank[code[through[row]]];
  }

  function apply() {
    if (!data.submissions) return;
    const checks = tests();
    let chosen = new Int32Array(data.loaded);
    let count = 0;
    rows: for (let row = 0; row < data.loaded; row += 1) {
      for (const check of checks) if (!check(row)) continue rows;
      chosen[count] = row;
      count += 1;
    }
    chosen = chosen.subarray(0, count);
    if (state.sort !== "") {
      const direction = state.sort.startsWith("-") ? -1 : 1;
      const value = orderOf(state.sort.replace(/^-/, ""));
      const values = new Float64Array(data.loaded);
      for (const row of chosen) values[row] = value(row);
      // Unknown is always last; equal rows stay in the order of the board.
      chosen.sort((one, other) => {
        const [a, b] = [values[one], values[other]];
        if (a === b) return one - other;
        if (Number.isNaN(a) || Number.isNaN(b)) return (Number.isNaN(a) - Number.isNaN(b)) || one - other;
        return direction * (a - b);
      });
    }
    matching = chosen;
    show();
  }

  // --- the page ---

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const printable = (text) =>
    String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
  const word = (name, row) => {
    const { code, through, words } = lookup(name);
    return printable(code === null ? words[through[row]] : words[code[through[row]]]);
  };
  const seconds = (value) =>
    Number.isNaN(value) ? "–" : value >= 100 ? `${value.toFixed(0)} s` : value >= 10 ? `${value.toFixed(1)} s` : `${Number(value.toPrecision(3))} s`;
  const size = (megabytes) =>
    Number.isNaN(megabytes) ? "–" : megabytes >= 1000 ? `${(megabytes / 1000).toFixed(1)} GB` : `${megabytes} MB`;

  function interval(low, high) {
    const decimals = high > 0 ? Math.max(0, 2 - Math.floor(Math.log10(high))) : 0;
    return `${low.toFixed(decimals)}–${high.toFixed(decimals)} s`;
  }

  const link = (name, row, page) => {
    const run = data.columns.submission[row];
    return make("a", { href: data.words[page][data.of[page][run]] }, word(name, row));
  };

  const CELLS = {
    place: (row) => {
      const place = data.columns.place[row];
      if (place > 0) return String(place);
      const code = data.words.why[data.columns.why[row]];
      return make("span", { className: "why" }, printable(whyWords[code] ?? code ?? ""));
    },
    seconds: (row) => {
      const { seconds: middle, low, high } = data.columns;
      const parts = [seconds(middle[row])];
      if (!Number.isNaN(low[row])) parts.push(make("span", { className: "interval" }, interval(low[row], high[row])));
      return parts;
    },
    memory: (row) => size(data.columns.memory[row]),
    n: (row) => String(data.columns.n[row]),
    image: (row) => {
      const [words, tone] = IMAGE[data.words.image[data.columns.image[row]]] ?? IMAGE.unknown;
      return make("span", { className: `tone ${tone}` }, words);
    },
    model: (row) => link("model", row, "model_page"),
    machine: (row) => link("machine", row, "machine_page"),
  };
  let heads = [];
  let whyWords = {};
  const keys = () => heads.map((head) => head.dataset.key);

  function show() {
    const pages = Math.max(1, Math.ceil(matching.length / PAGE));
    const page = Math.min(state.page, pages);
    const body = document.createDocumentFragment();
    for (const row of matching.subarray((page - 1) * PAGE, page * PAGE)) {
      const line = document.createElement("tr");
      for (const head of heads) {
        const key = head.dataset.key;
        const content = key in CELLS ? CELLS[key](row) : word(key, row);
        const cell = make(key === "chip" ? "th" : "td", {}, ...[content].flat());
        if (key === "chip") cell.scope = "row";
        if (head.classList.contains("number")) cell.className = "number";
        else if (key === "setting") cell.className = "words";
        cell.dataset.label = head.dataset.words;
        line.append(cell);
      }
      body.append(line);
    }
    find(".board-table tbody").replaceChildren(body);
    heads.forEach((head) => {
      const key = head.dataset.key;
      if (state.sort.replace(/^-/, "") === key) head.setAttribute("aria-sort", state.sort.startsWith("-") ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    find(".pages").hidden = pages === 1;
    find(".where").textContent = `Page ${page.toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    find(".back").disabled = page <= 1;
    find(".on").disabled = page >= pages;
    document.documentElement.dataset.shown = String(data.have);
    say();
  }

  function say() {
    const words = [`${matching.length.toLocaleString("en")} of ${data.rows.toLocaleString("en")} rows`];
    if (data.have < data.pieces) words.push(`${Math.round((100 * data.loaded) / data.rows)}% of the data read`);
    find(".status").textContent = words.join("; ");
  }

  function fillFilters() {
    for (const control of find(".filters").elements) {
      if (control.tagName !== "SELECT" || control.name === "sort") continue;
      const words = [...new Set(data.words[control.name])].sort(collator.compare).slice(0, MOST_OPTIONS);
      for (const value of words) {
        control.append(new Option(control.name === "image" ? IMAGE[value]?.[0] ?? value : printable(value), value));
      }
    }
  }

  function change(changes) {
    Object.assign(state, { page: 1 }, changes);
    writeAddress();
    apply();
  }

  function start() {
    const form = find(".filters");
    heads = [...document.querySelectorAll(".board-table thead th")];
    whyWords = JSON.parse(find(".board-table").dataset.why);
    const sort = form.elements.namedItem("sort");
    sort.append(new Option("the board's order", ""));
    heads.forEach((head) => {
      const words = head.textContent.trim();
      const key = head.dataset.key;
      head.dataset.words = words;
      const button = make("button", { type: "button", className: "sort" }, words);
      button.addEventListener("click", () => {
        const after = { [key]: `-${key}`, [`-${key}`]: "" };
        const sorted = after[state.sort] ?? key;
        choose(sort, sorted);
        change({ sort: sorted });
      });
      head.replaceChildren(button);
      sort.append(new Option(`${words}, ascending`, key), new Option(`${words}, descending`, `-${key}`));
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    let waiting = 0;
    form.addEventListener("input", ({ target }) => {
      clearTimeout(waiting);
      const value = target.type === "checkbox" ? (target.checked ? "1" : "") : target.value;
      waiting = setTimeout(() => change({ [target.name]: value }), target.type === "search" ? 150 : 0);
    });
    find(".reset").addEventListener("click", () => {
      history.replaceState(null, "", location.pathname.split("/").pop() || "index.html");
      readAddress();
      apply();
    });
    const turn = (by) => {
      const pages = Math.max(1, Math.ceil(matching.length / PAGE));
      change({ page: Math.min(pages, Math.max(1, Math.min(state.page, pages) + by)) });
      find(".board-table").scrollIntoView({ block: "start" });
    };
    find(".back").addEventListener("click", () => turn(-1));
    find(".on").addEventListener("click", () => turn(1));
    addEventListener("hashchange", () => { readAddress(); apply(); });
    // A phone has room for the rows or for all filters.
    form.querySelector(".more").open = matchMedia("(min-width: 40rem)").matches;
    form.hidden = false;
    started = true;
    accept();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
