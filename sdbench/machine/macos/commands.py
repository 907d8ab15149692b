"""Every program that is started on macOS, with its arguments, and every sysctl value asked for."""

SYSCTL = "/usr/sbin/sysctl"

SW_VERS = ("/usr/bin/sw_vers",)
VM_STAT = ("/usr/bin/vm_stat",)
POWER_SOURCE = ("/usr/bin/pmset", "-g", "ps")
POWER_SETTINGS = ("/usr/bin/pmset", "-g")
POWER_THERMAL = ("/usr/bin/pmset", "-g", "therm")
"""Asked on Intel only: on Apple silicon it stays silent even while the machine throttles."""
MEMORY_PRESSURE = ("/usr/bin/memory_pressure",)
KERNEL = ("/usr/bin/uname", "-v")
"""These two only where sysctl does not tell."""

THERMAL_KEY = "com.apple.system.thermalpressurelevel"
THERMAL = ("/usr/bin/notifyutil", "-g", THERMAL_KEY)

HARDWARE = ("/usr/sbin/system_profiler", "-json", "SPHardwareDataType")
DISPLAYS = ("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType")

NEVER_CHANGES = (SW_VERS, HARDWARE, DISPLAYS)
"""Asked once: what the machine is stays so while sdbench runs, and system_profiler is slow."""

MOST_KINDS_OF_CORES = 4
"""Three are the most that any Mac is known to have."""

SYSCTL_NAMES = (
    "hw.memsize",
    "hw.model",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.ncpu",
    "machdep.cpu.core_count",
    "hw.optional.arm64",
    "hw.nperflevels",
    *(
        f"hw.perflevel{level}.{what}"
        for level in range(MOST_KINDS_OF_CORES)
        for what in ("name", "physicalcpu")
    ),
    "machdep.cpu.brand_string",
    "sysctl.proc_translated",
    "kern.hv_vmm_present",
    "kern.version",
    "kern.osproductversion",
    "kern.osversion",
    "kern.bootsessionuuid",
    "kern.memorystatus_vm_pressure_level",
    "kern.memorystatus_level",
    "vm.swapusage",
    "vm.loadavg",
    "iogpu.wired_limit_mb",
)
"""Asked by name: some are left out of ``sysctl -a``."""
