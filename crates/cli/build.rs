//! Puts the files of the page and the sample sounds into the program: a table of name and bytes, made anew when a folder changes.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// Extensions of what is served; anything else in the folders is not.
const SERVED: &[&str] = &[
    "html", "css", "js", "svg", "png", "ico", "json", "flac", "ogg", "mp3", "wav",
];

fn main() -> io::Result<()> {
    let here = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let mut code = String::new();
    for (table, folder) in [("WEB", "web"), ("SAMPLES", "../../samples")] {
        let folder = Path::new(&here).join(folder);
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        let _ = writeln!(code, "pub const {table}: &[(&str, &[u8])] = &[");
        for file in files {
            let path = file.path();
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if SERVED.contains(&extension) {
                let name = file.file_name();
                let _ = writeln!(
                    code,
                    "    ({:?}, include_bytes!({path:?})),",
                    name.to_string_lossy()
                );
            }
        }
        code.push_str("];\n");
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("files.rs"), code)
}
