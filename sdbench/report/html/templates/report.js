"use strict";
// Everything here adds to a page that can be read without it.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Light and dark: what the system says, until the reader says otherwise.
  function theme() {
    const button = document.querySelector(".theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    // What a click does: a label that changes, and so no pressed state.
    const show = () => { button.textContent = isDark() ? "Light mode" : "Dark mode"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  }

  // Tables: sorted by the buttons in their heads, filtered by a text and by kinds of rows.
  const FILTERED_FROM_ROWS = 5;

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    const value = (cell.dataset.value ?? cell.textContent).trim();
    return value === "–" ? "" : value;
  };

  function comparison(rows, column) {
    const values = new Map(rows.map((row) => [row, valueOf(row, column)]));
    const known = [...values.values()].filter((value) => value !== "");
    const numeric = known.every((value) => Number.isFinite(Number(value)));
    const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
    return (direction) => (one, other) => {
      const [a, b] = [values.get(one), values.get(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // unknown is always last
      return direction * (numeric ? Number(a) - Number(b) : words.compare(a, b));
    };
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = make("button", { type: "button", className: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null };
        const before = head.getAttribute("aria-sort");
        const order = before in next ? next[before] : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (order) head.setAttribute("aria-sort", order);
        const rows = order ? [...body.rows] : original;
        if (order) rows.sort(comparison(rows, column)(order === "ascending" ? 1 : -1));
        body.append(...rows);
      });
    });
  }

  function filterable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < FILTERED_FROM_ROWS) return;
    const caption = table.caption ? table.caption.textContent.trim() : "this table";
    const text = make("input", { type: "search", placeholder: "Filter", autocomplete: "off" });
    text.setAttribute("aria-label", `Filter: ${caption}`);
    const count = make("span", { className: "count" });
    count.setAttribute("role", "status");
    const kinds = new Map(
      rows.filter((row) => row.dataset.kind).map((row) => [row.dataset.kind, row.dataset.kindWords])
    );
    const hidden = new Set();

    const apply = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const content = row.textContent.toLowerCase();
        const fits = words.every((word) => content.includes(word)) && !hidden.has(row.dataset.kind);
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows shown`;
    };

    const toggles = [...kinds].map(([kind, words]) => {
      const button = make("button", { type: "button", className: "kind" }, words || kind);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        if (!hidden.delete(kind)) hidden.add(kind);
        button.setAttribute("aria-pressed", String(!hidden.has(kind)));
        apply();
      });
      return button;
    });
    text.addEventListener("input", apply);
    const bar = make("div", { className: "filter" }, text);
    if (toggles.length > 1) {
      const group = make("div", { className: "kinds" }, ...toggles);
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `Rows shown: ${caption}`);
      bar.append(group);
    }
    bar.append(count);
    (table.closest(".scroll") || table).before(bar);
  }

  // On a phone a row is a card: each of its cells says what it is.
  function labelled(table) {
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => (cell.dataset.label = heads[column] ?? ""));
    }
  }

  // What scrolls sideways can be reached by the keyboard.
  function scrollable(box, number) {
    const caption = box.querySelector("caption, title");
    if (caption) caption.id ||= `caption-${number}`;
    new ResizeObserver(() => {
      const wide = box.scrollWidth > box.clientWidth + 1;
      if (wide) {
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        if (caption) box.setAttribute("aria-labelledby", caption.id);
        else box.setAttribute("aria-label", `Wide part ${number + 1}`);
      } else {
        for (const name of ["tabindex", "role", "aria-labelledby", "aria-label"]) {
          box.removeAttribute(name);
        }
      }
    }).observe(box);
  }

  // Two pictures side by side, or on request on top of each other: then the slider says how much
  // of the upper one is seen.
  function wipe(figure) {
    const slider = figure.querySelector("input[type=range]");
    const button = figure.querySelector(".slide");
    const { left, right } = figure.dataset;
    const show = () => {
      figure.style.setProperty("--wipe", `${slider.value}%`);
      slider.setAttribute(
        "aria-valuetext", `${slider.value} % ${left}, ${100 - slider.value} % ${right}`
      );
    };
    slider.addEventListener("input", show);
    // What a click does: a label that changes, and so no pressed state.
    button.addEventListener("click", () => {
      const sliding = figure.classList.toggle("sliding");
      figure.parentElement.classList.toggle("sliding", sliding);
      slider.hidden = !sliding;
      button.textContent = sliding ? "Side by side" : "Slide";
    });
    button.hidden = false;
    show();
  }

  // Where in the report the reader is.
  function contents() {
    const links = new Map(
      [...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link])
    );
    const seen = new Set();
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (isIntersecting) seen.add(target.id);
          else seen.delete(target.id);
        }
        const current = [...links.keys()].find((id) => seen.has(id));
        if (!current) return;
        for (const [id, link] of links) {
          if (id === current) link.setAttribute("aria-current", "location");
          else link.removeAttribute("aria-current");
        }
      },
      { rootMargin: "-15% 0px -60% 0px" }
    );
    document.querySelectorAll("main > section").forEach((section) => observer.observe(section));
  }

  // On paper nothing can be opened.
  function printing() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      opened.forEach((details) => (details.open = true));
    });
    addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
  }

  // A link to something inside a closed <details> opens it.
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target; box; box = box.parentElement) {
      if (box instanceof HTMLDetailsElement) box.open = true;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    theme();
    document.querySelectorAll(".stacked table").forEach(labelled);
    document.querySelectorAll("table.sortable").forEach((table) => {
      sortable(table);
      filterable(table);
    });
    document.querySelectorAll(".scroll, .plot, pre").forEach(scrollable);
    document.querySelectorAll(".wipe").forEach(wipe);
    document.querySelectorAll(".for-slide").forEach((words) => (words.hidden = false));
    contents();
    printing();
    reveal();
    addEventListener("hashchange", reveal);
  });
})();
