//! What machine this is.

use std::process::Command;

/// The machine, in words.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) day: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let cpu = read("/proc/cpuinfo");
        let number = |name| value(&cpu, name).unwrap_or_else(|| "?".to_owned());
        let kib: u64 = value(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        Self {
            cpu: format!(
                "{} (family {}, model {}), {} MHz",
                number("model name"),
                number("cpu family"),
                number("model\t"),
                number("cpu MHz").split('.').next().unwrap_or("?"),
            ),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: format!("{} GiB", kib.div_ceil(1024 * 1024)),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: said("rustc", &["--version"]),
            day: said("date", &["-u", "+%Y-%m-%d"]),
        }
    }
}

/// The first line that a program prints; `?` where there is no such program.
pub(crate) fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "?".into())
}
