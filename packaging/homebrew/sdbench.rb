class Sdbench < Formula
  desc "Benchmark and diagnostics of Stable Diffusion on Apple Silicon"
  homepage "https://github.com/sdbench/sdbench"
  license "Apache-2.0"
  head "https://github.com/sdbench/sdbench.git", branch: "main"

  depends_on "python@3.12"
  depends_on "uv"

  def install
    python = Formula["python@3.12"].opt_bin/"python3.12"
    system "uv", "venv", "--python", python, libexec
    system "uv", "pip", "install", "--python", libexec/"bin/python", "."
    bin.install_symlink libexec/"bin/sdbench"
  end

  def caveats
    <<~EOS
      sdbench is installed without torch. To measure, make an environment with it:
        uv venv --python 3.12 .venv-sd
        uv pip install --python .venv-sd torch diffusers transformers accelerate
        sdbench run --stack .venv-sd
      `sdbench doctor` says which release of torch this system needs.
    EOS
  end

  test do
    assert_match "sdbench, version", shell_output("#{bin}/sdbench --version")
    assert_match "torch is not installed", shell_output("#{bin}/sdbench doctor --json", 1)
  end
end
