// A device called "mps" whose memory is host memory and whose kernels are torch's own CPU kernels.
//
// Every operator that has a CPU kernel gets one boxed MPS kernel: it shows the CPU the same memory
// under CPU tensors, lets the CPU kernel run, and hands the results back as MPS tensors. So results
// are bit-identical to the CPU's, while everything above the kernels (dispatch, autograd, Module.to,
// torch.mps, torch.accelerator) is PyTorch's real code working on plain torch.Tensor objects.

#include "ledger.h"
#include "misbehaviour.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <ATen/ops/native_group_norm.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/SmallVector.h>
#include <torch/library.h>

#include <chrono>
#include <map>
#include <memory>
#include <set>

namespace standin {
namespace {

const c10::Device kMps(c10::DeviceType::MPS, 0);
const c10::DispatchKeySet kCpuKeys(c10::DispatchKey::CPU);
const c10::DispatchKeySet kMpsKeys(c10::DispatchKey::MPS);

// ---------------------------------------------------------------------------------------------
// Memory. A device storage owns a Block, and the Block owns the host storage that has the bytes.

struct Block {
  c10::Storage host;
  int64_t bytes;
};

void release_block(void* context) {
  auto* block = static_cast<Block*>(context);
  ledger().give_back(block->bytes);
  delete block;
}

c10::DataPtr data_on_device(c10::Storage host) {
  const auto bytes = static_cast<int64_t>(host.nbytes());
  ledger().take(bytes);
  void* data = host.mutable_data();
  return c10::DataPtr(data, new Block{std::move(host), bytes}, &release_block, kMps);
}

c10::Storage storage_on_device(const c10::Storage& host) {
  const auto bytes = host.nbytes();
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), bytes, data_on_device(host), /*allocator=*/nullptr, /*resizable=*/false));
}

const c10::Storage& host_of(const c10::Storage& device) {
  const auto& data = device.data_ptr();
  TORCH_CHECK(data.get_deleter() == &release_block, "this mps storage was not made by the stand-in");
  return static_cast<Block*>(data.get_context())->host;
}

class StandinAllocator : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    ledger().check(static_cast<int64_t>(bytes));
    auto* cpu = c10::GetCPUAllocator();
    return data_on_device(c10::Storage(c10::Storage::use_byte_size_t(), bytes, cpu->allocate(bytes), cpu, true));
  }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { ledger().empty_cache(); }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return ledger().stats(); }
  void resetAccumulatedStats(c10::DeviceIndex) override { ledger().reset_accumulated(); }
  void resetPeakStats(c10::DeviceIndex) override { ledger().reset_peak(); }
};

// torch 2.9 to 2.12 had the torch.accelerator statistics but no MPS allocator that could feed them:
// with this plain Allocator registered, torch itself raises what it raised then.
class PlainAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override { return full_.allocate(bytes); }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }

 private:
  StandinAllocator full_;
};

StandinAllocator& allocator() {
  static auto* instance = new StandinAllocator;
  return *instance;
}

// ---------------------------------------------------------------------------------------------
// Tensors.

bool refuse_bfloat16 = false;

void refuse_dtype(c10::ScalarType dtype) {
  TORCH_CHECK_TYPE(
      dtype != c10::ScalarType::Double,
      "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. ",
      "Please use float32 instead.");
  TORCH_CHECK_TYPE(
      dtype != c10::ScalarType::ComplexDouble,
      "Trying to convert ComplexDouble to the MPS backend but it does not have support for that dtype.");
  TORCH_CHECK_TYPE(
      !(refuse_bfloat16 && dtype == c10::ScalarType::BFloat16), "BFloat16 is not supported on MPS");
}

bool on_device(const at::Tensor& t) {
  return t.defined() && t.device().type() == c10::DeviceType::MPS;
}

at::Tensor with_geometry_of(const at::Tensor& t, c10::Storage storage, c10::DispatchKeySet keys) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, t.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return out;
}

// The same bytes under a CPU tensor; it keeps them alive on its own.
at::Tensor host_alias(const at::Tensor& t) {
  auto out = with_geometry_of(t, host_of(t.storage()), kCpuKeys);
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) {
    out.unsafeGetTensorImpl()->set_wrapped_number(true); // type promotion depends on it
  }
  return out;
}

at::Tensor to_device(const at::Tensor& host) {
  refuse_dtype(host.scalar_type());
  return with_geometry_of(host, storage_on_device(host.storage()), kMpsKeys);
}

// ---------------------------------------------------------------------------------------------
// Random numbers. A device generator is a CPU generator that says "mps".

struct StandinGenerator : c10::GeneratorImpl {
  at::Generator host;

  explicit StandinGenerator(at::Generator g) : c10::GeneratorImpl(kMps, kMpsKeys), host(std::move(g)) {}
  static c10::DeviceType device_type() { return c10::DeviceType::MPS; }

  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { host.set_offset(offset); }
  uint64_t get_offset() const override { return host.get_offset(); }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return host.unsafeGetGeneratorImpl()->seed(); }
  void set_state(const c10::TensorImpl& state) override { host.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return host.unsafeGetGeneratorImpl()->get_state();
  }

 protected:
  StandinGenerator* clone_impl() const override { return new StandinGenerator(host.clone()); }
};

at::Generator new_generator(uint64_t seed) {
  return at::make_generator<StandinGenerator>(at::make_generator<at::CPUGeneratorImpl>(seed));
}

at::Generator& default_generator() {
  static auto* instance = new at::Generator(new_generator(c10::default_rng_seed_val));
  return *instance;
}

// ---------------------------------------------------------------------------------------------
// Operators.

// One operator call: which MPS tensors went in, so that what comes out can be matched with them.
class Call {
 public:
  c10::IValue argument_to_host(const c10::IValue& value, const c10::Argument& argument) {
    const bool writes = argument.alias_info() && argument.alias_info()->isWrite();
    if (value.isTensor()) {
      return to_host(value.toTensor(), writes);
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> out;
      for (const at::Tensor& t : value.toTensorVector()) {
        out.push_back(to_host(t, writes));
      }
      return out;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> out;
      for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector()) {
        out.push_back(t ? std::optional<at::Tensor>(to_host(*t, writes)) : std::nullopt);
      }
      return out;
    }
    if (value.isStorage() && value.toStorage().device_type() == c10::DeviceType::MPS) {
      storages_.emplace_back(host_of(value.toStorage()), value.toStorage());
      return host_of(value.toStorage());
    }
    if (value.isDevice() && value.toDevice().type() == c10::DeviceType::MPS) {
      return c10::Device(c10::DeviceType::CPU);
    }
    if (value.isGenerator()) {
      const auto& generator = value.toGenerator();
      TORCH_CHECK(
          generator.device().type() == c10::DeviceType::MPS,
          "Expected a 'mps' device type for generator but found '", generator.device().type(), "'");
      return static_cast<StandinGenerator*>(generator.unsafeGetGeneratorImpl())->host;
    }
    if (value.isNone() && argument.name() == "generator") {
      return static_cast<StandinGenerator*>(default_generator().unsafeGetGeneratorImpl())->host;
    }
    return value;
  }

  void check_same_device() const {
    TORCH_CHECK(
        !(cpu_operand_ && !tensors_.empty()),
        "Expected all tensors to be on the same device, but found at least two devices, ",
        cpu_operand_first_ ? "cpu and mps:0!" : "mps:0 and cpu!");
  }

  void check_indexed_on_device() const {
    TORCH_CHECK(
        !cpu_operand_first_, "indices should be either on cpu or on the same device as the indexed tensor (cpu)");
  }

  c10::IValue result_to_device(const c10::IValue& value) {
    if (value.isTensor()) {
      return result_to_device(value.toTensor());
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> out;
      for (const at::Tensor& t : value.toTensorVector()) {
        out.push_back(result_to_device(t));
      }
      return out;
    }
    return value;
  }

  // In-place and out= operators may have resized a tensor or given it another storage.
  void write_back() {
    for (const auto& pair : tensors_) {
      if (!pair.writes) {
        continue;
      }
      auto* device = pair.device.unsafeGetTensorImpl();
      const auto& host = pair.host.storage();
      if (host.unsafeGetStorageImpl() != host_of(pair.device.storage()).unsafeGetStorageImpl()) {
        device->set_storage_keep_dtype(device_storage_for(host));
      } else if (host.nbytes() != pair.device.storage().nbytes() || host.data() != pair.device.storage().data()) {
        auto& storage = *pair.device.storage().unsafeGetStorageImpl();
        storage.set_data_ptr_noswap(data_on_device(host));
        storage.set_nbytes(host.nbytes());
      }
      if (pair.host.sizes() != pair.device.sizes() || pair.host.strides() != pair.device.strides() ||
          pair.host.storage_offset() != pair.device.storage_offset()) {
        device->set_sizes_and_strides(pair.host.sizes(), pair.host.strides(), pair.host.storage_offset());
      }
    }
  }

 private:
  struct Pair {
    at::Tensor device, host;
    bool writes;
  };

  at::Tensor to_host(const at::Tensor& t, bool writes) {
    if (!on_device(t)) {
      // A CPU tensor without dimensions counts as a number, which every device takes.
      if (t.defined() && t.dim() > 0) {
        cpu_operand_first_ = cpu_operand_first_ || tensors_.empty();
        cpu_operand_ = true;
      }
      if (t.defined()) {
        cpu_inputs_.push_back(t.unsafeGetTensorImpl());
      }
      return t;
    }
    tensors_.push_back({t, host_alias(t), writes});
    return tensors_.back().host;
  }

  at::Tensor result_to_device(const at::Tensor& t) {
    if (!t.defined() || t.device().type() != c10::DeviceType::CPU) {
      return t;
    }
    for (const auto& pair : tensors_) {
      if (pair.host.unsafeGetTensorImpl() == t.unsafeGetTensorImpl()) {
        return pair.device;
      }
    }
    for (const auto* input : cpu_inputs_) {
      if (input == t.unsafeGetTensorImpl()) {
        return t;
      }
    }
    for (const auto& pair : tensors_) {
      if (pair.host.storage().unsafeGetStorageImpl() == t.storage().unsafeGetStorageImpl()) {
        return view_of(pair.device, t);
      }
    }
    refuse_dtype(t.scalar_type());
    return with_geometry_of(t, device_storage_for(t.storage()), kMpsKeys);
  }

  // A view has the dispatch keys of its base: that is how inference mode knows which tensors are its own.
  static at::Tensor view_of(const at::Tensor& base, const at::Tensor& host_view) {
    auto storage = base.storage();
    auto out = at::detail::make_tensor<c10::TensorImpl>(
        c10::TensorImpl::VIEW, std::move(storage), base.key_set(), host_view.dtype());
    out.unsafeGetTensorImpl()->set_sizes_and_strides(
        host_view.sizes(), host_view.strides(), host_view.storage_offset());
    return out;
  }

  // A result that shares memory with an operand, or with another result, shares it on the device too.
  c10::Storage device_storage_for(const c10::Storage& host) {
    for (const auto& pair : tensors_) {
      if (host_of(pair.device.storage()).unsafeGetStorageImpl() == host.unsafeGetStorageImpl()) {
        return pair.device.storage();
      }
    }
    for (const auto& [known_host, device] : storages_) {
      if (known_host.unsafeGetStorageImpl() == host.unsafeGetStorageImpl()) {
        return device;
      }
    }
    storages_.emplace_back(host, storage_on_device(host));
    return storages_.back().second;
  }

  c10::SmallVector<Pair, 4> tensors_;
  c10::SmallVector<c10::TensorImpl*, 2> cpu_inputs_;
  c10::SmallVector<std::pair<c10::Storage, c10::Storage>, 2> storages_;
  bool cpu_operand_ = false;
  bool cpu_operand_first_ = false;
};

enum Trait : int {
  kOrdinary = 0,
  kTakesBothDevices = 1, // copies between devices
  kTakesCpuIndices = 2, // an MPS tensor may be indexed with CPU tensors, not the other way round
  kWaitsForDevice = 4, // its result is a number or a size that the host needs
  kInFloat32 = 8, // half precision goes through float32
};

// Metal's products keep half precision in memory and add up in float32. The CPU's own half kernels are
// written for processors with half arithmetic and take many times as long on others. So the operands are
// widened, and the result is rounded once. Returns the type to round to; none where no operand is half,
// or not all are: that is for the CPU to refuse.
std::optional<c10::ScalarType> widen(torch::jit::Stack* stack, size_t first) {
  std::optional<c10::ScalarType> half;
  const auto is_floating = [](const c10::IValue& value) {
    return value.isTensor() && value.toTensor().defined() && value.toTensor().is_floating_point();
  };
  for (size_t i = first; i < stack->size(); ++i) {
    if (is_floating((*stack)[i])) {
      half = (*stack)[i].toTensor().scalar_type();
      if (!at::isReducedFloatingType(*half)) {
        return std::nullopt;
      }
    }
  }
  for (size_t i = first; i < stack->size(); ++i) {
    if (is_floating((*stack)[i])) {
      (*stack)[i] = (*stack)[i].toTensor().to(c10::ScalarType::Float);
    }
  }
  return half;
}

template <int traits>
void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  misbehaviour().refuse_if_missing(op.operator_name());
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  Call call;
  for (size_t i = 0; i < arguments.size(); ++i) {
    (*stack)[first + i] = call.argument_to_host((*stack)[first + i], arguments[i]);
  }
  if constexpr (traits & kTakesCpuIndices) {
    call.check_indexed_on_device();
  } else if constexpr (!(traits & kTakesBothDevices)) {
    call.check_same_device();
  }
  if constexpr (traits & kWaitsForDevice) {
    misbehaviour().barrier();
  }

  const bool measured = misbehaviour().pressure_above >= 0;
  const auto start = measured ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
  {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    if constexpr (traits & kInFloat32) {
      const auto half = widen(stack, first);
      op.redispatchBoxed(kCpuKeys, stack);
      if (half) {
        stack->back() = stack->back().toTensor().to(*half);
      }
    } else {
      op.redispatchBoxed(kCpuKeys, stack);
    }
  }
  call.write_back();
  for (size_t i = first; i < stack->size(); ++i) {
    (*stack)[i] = call.result_to_device((*stack)[i]);
  }
  if (measured) {
    misbehaviour().slow_down(std::chrono::steady_clock::now() - start);
  }
}

void copy_between_devices(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& to = (*stack)[stack->size() - 3].toTensor();
  if (!on_device(to)) {
    misbehaviour().barrier();
  }
  run_on_host<kTakesBothDevices>(op, stack);
}

// The two ways every tensor is made. They are written out so that an allocation that is too large is
// refused before the host is asked for it.
at::Tensor empty(
    at::IntArrayRef size,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool>,
    std::optional<c10::MemoryFormat> memory_format) {
  at::detail::check_size_nonnegative(size);
  const auto type = c10::dtype_or_default(dtype);
  refuse_dtype(type);
  ledger().check(at::detail::computeStorageNbytesContiguous(size, c10::elementSize(type)));
  return to_device(at::detail::empty_cpu(size, type, /*pin_memory=*/false, memory_format));
}

at::Tensor empty_strided(
    at::IntArrayRef size,
    at::IntArrayRef stride,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool>) {
  at::detail::check_size_nonnegative(size);
  const auto type = c10::dtype_or_default(dtype);
  refuse_dtype(type);
  ledger().check(at::detail::computeStorageNbytes(size, stride, c10::elementSize(type)));
  return to_device(at::detail::empty_strided_cpu(size, stride, type, /*pin_memory=*/false));
}

// group_norm keeps the memory format on the CPU and drops it elsewhere, and the two layouts round
// differently. This is what PyTorch does on the CPU.
at::Tensor group_norm(
    const at::Tensor& input,
    int64_t groups,
    const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias,
    double eps,
    bool) {
  TORCH_CHECK(input.dim() >= 2, "Expected at least 2 dimensions for input tensor but received ", input.dim());
  const auto batch = input.size(0), channels = input.size(1);
  TORCH_CHECK(
      groups > 0 && channels % groups == 0,
      "Expected number of channels in input to be divisible by num_groups, but got input of shape ",
      input.sizes(), " and num_groups=", groups);
  const auto area = c10::multiply_integers(input.sizes().slice(2));
  const auto contiguous = [](const std::optional<at::Tensor>& t) {
    return t && t->defined() ? t->contiguous() : at::Tensor();
  };
  return std::get<0>(at::native_group_norm(
      input.contiguous(input.suggest_memory_format()), contiguous(weight), contiguous(bias), batch, channels, area,
      groups, eps));
}

// A composite operator that is to reach the backend undivided. It goes on through the dispatcher, so
// that a TorchDispatchMode sees it like any other. Gradients end here: the device is for inference.
void keep_whole(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  op.callBoxed(stack);
}

// Operators that PyTorch would send on to a Metal kernel because the device is "mps".
const std::set<std::string> kTakenOverWhole = {
    "aten::convolution",
    "aten::_convolution",
    "aten::copy_",
};

using BoxedKernel = void (*)(const c10::OperatorHandle&, torch::jit::Stack*);

template <BoxedKernel kernel>
void register_boxed(torch::Library& library, const std::string& name) {
  library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<kernel>());
}

void register_operator(torch::Library& library, const std::string& name, bool in_float32) {
  static const std::map<std::string, int> traits = {
      {"aten::index.Tensor", kTakesCpuIndices},
      {"aten::index.Tensor_out", kTakesCpuIndices},
      {"aten::_index_put_impl_", kTakesCpuIndices},
      {"aten::_local_scalar_dense", kWaitsForDevice},
      {"aten::equal", kWaitsForDevice},
      {"aten::nonzero", kWaitsForDevice},
      {"aten::masked_select", kWaitsForDevice},
  };
  if (name == "aten::copy_") {
    return register_boxed<&copy_between_devices>(library, name);
  }
  if (in_float32) {
    return register_boxed<&run_on_host<kInFloat32>>(library, name);
  }
  const auto found = traits.find(name);
  switch (found == traits.end() ? int{kOrdinary} : found->second) {
    case kTakesCpuIndices:
      return register_boxed<&run_on_host<kTakesCpuIndices>>(library, name);
    case kWaitsForDevice:
      return register_boxed<&run_on_host<kWaitsForDevice>>(library, name);
    default:
      return register_boxed<&run_on_host<kOrdinary>>(library, name);
  }
}

torch::Library& library_for(c10::DispatchKey key) {
  static auto* libraries = new std::map<c10::DispatchKey, std::unique_ptr<torch::Library>>;
  auto& library = (*libraries)[key];
  if (!library) {
    library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, "sdbench_standin", 0);
  }
  return *library;
}

using Names = std::vector<std::string>;

// Gives every operator with a CPU kernel its MPS kernel, and those in `also`, but not those in `except`,
// for which Python brings its own. `whole` are in `also`, and decompose above the backend if let.
// Those in `in_float32` return one tensor.
void register_operators(
    const Names& except, const Names& also, const Names& whole, const Names& in_float32) {
  const std::set<std::string> skip(except.begin(), except.end());
  const std::set<std::string> wide(in_float32.begin(), in_float32.end());
  std::set<std::string> extra(also.begin(), also.end());
  extra.insert(kTakenOverWhole.begin(), kTakenOverWhole.end());
  auto& dispatcher = c10::Dispatcher::singleton();
  auto& mps = library_for(c10::DispatchKey::MPS);
  for (const auto& operator_name : dispatcher.getAllOpNames()) {
    const auto name = c10::toString(operator_name);
    if (name.rfind("aten::", 0) != 0 || skip.count(name) || name == "aten::empty.memory_format" ||
        name == "aten::empty_strided") {
      continue;
    }
    const auto op = dispatcher.findOp(operator_name);
    if (!op || !op->hasSchema() || op->hasKernelForDispatchKey(c10::DispatchKey::MPS)) {
      continue; // even a CPU build of torch brings an MPS kernel or two
    }
    if (extra.count(name) || op->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      register_operator(mps, name, wide.count(name) > 0);
    }
  }
  mps.impl("empty.memory_format", TORCH_FN(empty));
  mps.impl("empty_strided", TORCH_FN(empty_strided));
  auto& autograd = library_for(c10::DispatchKey::AutogradMPS);
  for (const auto& name : whole) {
    register_boxed<&keep_whole>(autograd, name);
  }
  if (!extra.count("aten::group_norm")) {
    autograd.impl("group_norm", TORCH_FN(group_norm));
    mps.impl("group_norm", TORCH_FN(group_norm));
  }
}

TORCH_LIBRARY_IMPL(_, MPS, m) {
  // Operators of other libraries, and those defined later.
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host<kOrdinary>>());
}

// ---------------------------------------------------------------------------------------------
// What PyTorch asks a backend for besides kernels.

const c10::Stream kStream(c10::Stream::DEFAULT, kMps);

struct StandinGuard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::MPS> {
  c10::Device exchangeDevice(c10::Device) const override { return kMps; }
  c10::Device getDevice() const override { return kMps; }
  c10::Stream getStream(c10::Device) const noexcept override { return kStream; }
  c10::Stream getDefaultStream(c10::Device) const override { return kStream; }
  c10::Stream getNewStream(c10::Device, int) const override { return kStream; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return kStream; }
  void synchronizeStream(const c10::Stream&) const override { misbehaviour().barrier(); }
  void synchronizeDevice(const c10::DeviceIndex) const override { misbehaviour().barrier(); }
};

C10_REGISTER_GUARD_IMPL(MPS, StandinGuard)

} // namespace

// PyTorch looks the class up by this very name.
struct MPSHooks : at::MPSHooksInterface {
  void init() const override {}
  bool hasMPS() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isOnMacOSorNewer(unsigned major, unsigned minor) const override {
    return std::pair(major, minor) <= std::pair(15u, 0u);
  }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }

  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return new_generator(c10::default_rng_seed_val);
  }

  at::Allocator* getMPSDeviceAllocator() const override { return &allocator(); }
  void deviceSynchronize() const override { misbehaviour().barrier(); }
  void commitStream() const override {}
  void emptyCache() const override { ledger().empty_cache(); }
  size_t getCurrentAllocatedMemory() const override { return ledger().allocated(); }
  size_t getDriverAllocatedMemory() const override { return ledger().reserved(); }
  size_t getRecommendedMaxMemory() const override { return ledger().recommended(); }
  void setMemoryFraction(double ratio) const override { ledger().set_high_watermark(ratio); }

  void profilerStartTrace(const std::string&, bool) const override {}
  void profilerStopTrace() const override {}

  // Kernels have run by the time the call returns, so an event is the host time of its recording.
  uint32_t acquireEvent(bool) const override {
    std::lock_guard<std::mutex> hold(events_mutex_);
    events_[++last_event_] = {};
    return last_event_;
  }
  void releaseEvent(uint32_t id) const override {
    std::lock_guard<std::mutex> hold(events_mutex_);
    events_.erase(id);
  }
  void recordEvent(uint32_t id) const override {
    std::lock_guard<std::mutex> hold(events_mutex_);
    events_[id] = std::chrono::steady_clock::now();
  }
  void waitForEvent(uint32_t) const override {}
  void synchronizeEvent(uint32_t) const override { misbehaviour().barrier(); }
  bool queryEvent(uint32_t) const override { return true; }
  double elapsedTimeOfEvents(uint32_t start, uint32_t end) const override {
    std::lock_guard<std::mutex> hold(events_mutex_);
    return std::chrono::duration<double, std::milli>(events_[end] - events_[start]).count();
  }

 private:
  mutable std::mutex events_mutex_;
  mutable std::map<uint32_t, std::chrono::steady_clock::time_point> events_;
  mutable uint32_t last_event_ = 0;
};

} // namespace standin

namespace at {
using standin::MPSHooks;
REGISTER_MPS_HOOKS(MPSHooks)
} // namespace at

namespace standin {
namespace {

void register_allocator(bool with_statistics) {
  static auto* plain = new PlainAllocator;
  c10::SetAllocator(
      c10::DeviceType::MPS, with_statistics ? static_cast<c10::Allocator*>(&allocator()) : plain, /*priority=*/1);
}

void set_limits(int64_t recommended, double high, double low, bool binary_units, bool bfloat16) {
  ledger().configure(recommended, high, low, binary_units);
  refuse_bfloat16 = !bfloat16;
}

void set_missing(const Names& operators, bool fall_back) {
  misbehaviour().missing = {operators.begin(), operators.end()};
  misbehaviour().fall_back_when_missing = fall_back;
}

void set_pressure(int64_t above, double factor) {
  misbehaviour().pressure_factor = factor;
  misbehaviour().pressure_above = above;
}

void hang_at_barrier(bool holding_gil) {
  misbehaviour().hang_holding_gil = holding_gil;
  misbehaviour().hang = true;
}

void fail_at_barrier(const std::string& text) {
  std::lock_guard<std::mutex> hold(misbehaviour().late_error_mutex);
  misbehaviour().late_error = text;
  misbehaviour().late_error_pending = true;
}

} // namespace

TORCH_LIBRARY(sdbench_standin, m) {
  m.def("host(Tensor(a) tensor) -> Tensor(a)", &host_alias);
  m.def("device(Tensor tensor) -> Tensor", &to_device);
  m.def(
      "register_operators(str[] except_, str[] also, str[] whole, str[] in_float32) -> ()",
      [](Names except, Names also, Names whole, Names in_float32) {
        register_operators(except, also, whole, in_float32);
      });
  m.def("register_allocator(bool with_statistics) -> ()", &register_allocator);
  m.def("set_limits(int recommended, float high, float low, bool binary_units, bool bfloat16) -> ()", &set_limits);
  m.def("set_missing(str[] operators, bool fall_back) -> ()", [](Names operators, bool fall_back) {
    set_missing(operators, fall_back);
  });
  m.def("set_pressure(int above, float factor) -> ()", &set_pressure);
  m.def("hang_at_barrier(bool holding_gil) -> ()", &hang_at_barrier);
  m.def("fail_at_barrier(str text) -> ()", [](std::string text) { fail_at_barrier(text); });
}

} // namespace standin
