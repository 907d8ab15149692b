// The simulated Metal allocator's books: what is allocated, the peak, what the driver holds,
// and the limit above which an allocation is refused with PyTorch's own words.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>

namespace standin {

// The wording of torch's MPSAllocator: old releases said GB/MB for the same 1024-based units.
inline std::string format_size(uint64_t size, bool binary_units) {
  constexpr double kibi = 1024.0;
  char text[64];
  if (size <= 1024) {
    std::snprintf(text, sizeof text, "%llu bytes", static_cast<unsigned long long>(size));
  } else if (size <= 1048576) {
    std::snprintf(text, sizeof text, "%.2f %s", size / kibi, binary_units ? "KiB" : "KB");
  } else if (size <= 1073741824) {
    std::snprintf(text, sizeof text, "%.2f %s", size / (kibi * kibi), binary_units ? "MiB" : "MB");
  } else {
    std::snprintf(text, sizeof text, "%.2f %s", size / (kibi * kibi * kibi), binary_units ? "GiB" : "GB");
  }
  return text;
}

class Ledger {
 public:
  void configure(int64_t recommended, double high, double low, bool binary_units) {
    std::lock_guard<std::mutex> hold(mutex_);
    recommended_ = recommended;
    high_ = high;
    low_ = low;
    binary_units_ = binary_units;
    checked_ = false;
  }

  // Raises what an allocation of this size would raise; changes nothing but num_ooms.
  void check(int64_t bytes) {
    std::lock_guard<std::mutex> hold(mutex_);
    check_locked(bytes);
  }

  void take(int64_t bytes) {
    std::lock_guard<std::mutex> hold(mutex_);
    check_locked(bytes);
    allocation_.increase(1);
    allocated_.increase(bytes);
    // Freed blocks stay with the driver until empty_cache(), and are used again before it gives more.
    if (allocated_.current > reserved_.current) {
      reserved_.increase(allocated_.current - reserved_.current);
    }
  }

  void give_back(int64_t bytes) {
    std::lock_guard<std::mutex> hold(mutex_);
    allocation_.decrease(1);
    allocated_.decrease(bytes);
  }

  void empty_cache() {
    std::lock_guard<std::mutex> hold(mutex_);
    reserved_.decrease(reserved_.current - allocated_.current);
  }

  void set_high_watermark(double ratio) {
    std::lock_guard<std::mutex> hold(mutex_);
    TORCH_CHECK(ratio >= 0.0 && ratio <= 2.0, "invalid high watermark ratio ", ratio);
    high_ = ratio;
  }

  int64_t allocated() {
    std::lock_guard<std::mutex> hold(mutex_);
    return allocated_.current;
  }

  int64_t reserved() {
    std::lock_guard<std::mutex> hold(mutex_);
    return reserved_.current;
  }

  int64_t recommended() {
    std::lock_guard<std::mutex> hold(mutex_);
    return recommended_;
  }

  void reset_peak() {
    std::lock_guard<std::mutex> hold(mutex_);
    for (auto* stat : {&allocation_, &allocated_, &reserved_}) {
      stat->reset_peak();
    }
  }

  void reset_accumulated() {
    std::lock_guard<std::mutex> hold(mutex_);
    for (auto* stat : {&allocation_, &allocated_, &reserved_}) {
      stat->reset_accumulated();
    }
  }

  c10::CachingDeviceAllocator::DeviceStats stats() {
    std::lock_guard<std::mutex> hold(mutex_);
    c10::CachingDeviceAllocator::DeviceStats out;
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    out.allocation[all] = allocation_;
    out.active[all] = allocation_;
    out.allocated_bytes[all] = allocated_;
    out.active_bytes[all] = allocated_;
    out.requested_bytes[all] = allocated_;
    out.reserved_bytes[all] = reserved_;
    out.num_ooms = ooms_;
    return out;
  }

 private:
  void check_locked(int64_t bytes) {
    if (!checked_) {
      // Metal's allocator reads the ratios when it is first used, so that is when bad ones are reported.
      TORCH_CHECK(high_ >= 0.0 && high_ <= 2.0, "invalid high watermark ratio ", high_);
      const double upper = high_ == 0.0 ? 2.0 : high_;
      TORCH_CHECK(low_ >= 0.0 && low_ <= upper, "invalid low watermark ratio ", low_);
      checked_ = true;
    }
    if (high_ == 0.0) {
      return;
    }
    const auto limit = static_cast<int64_t>(high_ * static_cast<double>(recommended_));
    if (allocated_.current + bytes > limit) {
      ++ooms_;
      TORCH_CHECK(
          false,
          "MPS backend out of memory (MPS allocated: ", format_size(allocated_.current, binary_units_),
          ", other allocations: ", format_size(0, binary_units_),
          ", max allowed: ", format_size(limit, binary_units_),
          "). Tried to allocate ", format_size(bytes, binary_units_), " on private pool.",
          " Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations",
          " (may cause system failure).");
    }
  }

  std::mutex mutex_;
  c10::CachingAllocator::Stat allocation_, allocated_, reserved_;
  int64_t recommended_ = int64_t{1} << 30;
  int64_t ooms_ = 0;
  double high_ = 1.7;
  double low_ = 1.4;
  bool binary_units_ = true;
  bool checked_ = false;
};

// Leaked on purpose: tensors may be freed after static destructors have run.
inline Ledger& ledger() {
  static auto* instance = new Ledger;
  return *instance;
}

} // namespace standin
