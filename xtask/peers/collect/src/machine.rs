//! The machine that is measured on, in words: processor, kernel, governor, memory, load, the file system of a folder, the compiler.
//!
//! Reads what Linux says of itself; elsewhere it says what it does not know. Invariant: nothing here fails.

use std::{fs, path::Path, process::Command, thread};

/// Facts, each with its name.
pub type Facts = Vec<(&'static str, String)>;

/// Describes this machine and the file system of a folder on it.
#[must_use]
pub fn described(folder: &Path) -> Facts {
    let read = |path: &str| fs::read_to_string(path).ok();
    let unknown = || "unknown".to_owned();
    let cores = thread::available_parallelism().map_or_else(|_| unknown(), |cores| cores.to_string());
    let cpu = read("/proc/cpuinfo").and_then(|text| field(&text, "model name")).unwrap_or_else(unknown);
    let kernel = read("/proc/sys/kernel/osrelease").map_or_else(unknown, |text| text.trim().to_owned());
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        .map_or_else(|| "not told (a virtual machine has none)".into(), |text| text.trim().to_owned());
    let memory = read("/proc/meminfo").and_then(|text| gibibytes(&field(&text, "MemTotal")?)).unwrap_or_else(unknown);
    let load = read("/proc/loadavg").map_or_else(unknown, |text| first_words(&text, 3));
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let file_system = file_system(&mounts, &folder).unwrap_or_else(unknown);
    vec![
        ("processor", format!("{cpu}, {cores} cores to use")),
        ("memory", memory),
        ("system", format!("{} {kernel}", std::env::consts::OS)),
        ("governor", governor),
        ("load before", load),
        ("files on", file_system),
        ("compiler", compiler().unwrap_or_else(unknown)),
    ]
}

/// As text for people, a fact a line.
#[must_use]
pub fn text(facts: &Facts) -> String {
    facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// The compiler that whoever starts this from cargo builds with.
fn compiler() -> Option<String> {
    let said = Command::new("rustc").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned()).filter(|version| !version.is_empty())
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// From kibibytes, which Linux calls kB.
fn gibibytes(text: &str) -> Option<String> {
    let kibi: f64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.1} GiB", kibi / f64::from(1 << 20)))
}

fn first_words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

/// The type of the file system that the longest mount point above this folder has (proc_pid_mountinfo(5): the fifth field is the mount
/// point, the first after the dash the type).
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split_whitespace().nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then(|| (point.len(), first_words(after, 1)))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_is_that_of_the_folder() {
        let mounts = "21 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n\
                      22 21 0:19 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw\n\
                      23 21 0:20 / /tmp/a\\040b rw - xfs /dev/vdb rw\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/bench")).as_deref(), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/tmp/a b/c")).as_deref(), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/tmpfs")).as_deref(), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("a : 1\nmodel name\t: Some CPU\n", "model name").as_deref(), Some("Some CPU"));
        assert_eq!(field("", "model name"), None);
        assert_eq!(gibibytes("24684092 kB").as_deref(), Some("23.5 GiB"));
    }

    #[test]
    fn this_machine_has_all_facts() {
        let facts = described(Path::new("."));
        assert!(facts.iter().all(|(_, value)| !value.is_empty()), "{facts:?}");
    }
}
