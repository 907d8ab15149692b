// The faults that live below Python: a barrier that never returns, an error that is reported late,
// operators that are missing, and work that gets slower when memory is full.
#pragma once

#include "ledger.h"

#include <ATen/core/operator_name.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

// Declared here instead of including Python.h, so that one build serves every Python version.
extern "C" {
int PyGILState_Check(void);
int PyGILState_Ensure(void);
void* PyEval_SaveThread(void);
}

namespace standin {

struct Misbehaviour {
  std::atomic<bool> hang{false};
  std::atomic<bool> hang_holding_gil{false};

  std::atomic<bool> late_error_pending{false};
  std::mutex late_error_mutex;
  std::string late_error;

  // Written at import only, read by every operator.
  std::unordered_set<std::string> missing;
  bool fall_back_when_missing = false;

  std::atomic<int64_t> pressure_above{-1};
  std::atomic<double> pressure_factor{1.0};

  // Everything the host has to wait for the device for comes through here: synchronize, a copy to
  // the host, .item() and their like.
  void barrier() {
    pay_debt(0);
    if (hang) {
      sleep_forever();
    }
    if (late_error_pending.exchange(false)) {
      std::lock_guard<std::mutex> hold(late_error_mutex);
      TORCH_CHECK(false, late_error);
    }
  }

  void refuse_if_missing(const c10::OperatorName& name) {
    if (missing.empty() || !(missing.count(name.name) || missing.count(c10::toString(name)))) {
      return;
    }
    const auto text = c10::toString(name);
    TORCH_CHECK_NOT_IMPLEMENTED(
        fall_back_when_missing,
        "The operator '", text, "' is not currently implemented for the MPS device. If you want this op to be ",
        "added in priority during the prototype phase of this feature, please comment on ",
        "https://github.com/pytorch/pytorch/issues/77764. As a temporary fix, you can set the environment ",
        "variable `PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will ",
        "be slower than running natively on MPS.");
    static std::once_flag warned;
    std::call_once(warned, [&] {
      c10::warn(c10::Warning(
          c10::UserWarning(),
          c10::SourceLocation{"operator()", "aten/src/ATen/mps/MPSFallback.mm", 14},
          "The operator '" + text + "' is not currently supported on the MPS backend and will fall back to run "
          "on the CPU. This may have performance implications.",
          /*verbatim=*/false));
    });
  }

  // Makes `elapsed` of work last `pressure_factor` times as long while more than the threshold is allocated.
  // The lost time is owed and paid a millisecond at a time: a sleep of microseconds would take far longer.
  void slow_down(std::chrono::steady_clock::duration elapsed) {
    if (ledger().allocated() > pressure_above) {
      owed_ns += static_cast<int64_t>(
          std::chrono::duration<double, std::nano>(elapsed).count() * (pressure_factor - 1.0));
      pay_debt(1000000);
    }
  }

 private:
  void pay_debt(int64_t at_least_ns) {
    if (owed_ns > at_least_ns) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(owed_ns.exchange(0)));
    }
  }

  [[noreturn]] void sleep_forever() {
    // torch's bindings differ in whether they let go of the interpreter lock while they wait.
    if (hang_holding_gil) {
      if (!PyGILState_Check()) {
        PyGILState_Ensure();
      }
    } else if (PyGILState_Check()) {
      PyEval_SaveThread();
    }
    for (;;) {
      std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

  std::atomic<int64_t> owed_ns{0};
};

inline Misbehaviour& misbehaviour() {
  static auto* instance = new Misbehaviour;
  return *instance;
}

} // namespace standin
