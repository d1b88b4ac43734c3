//! Compiles `proto/` to the Rust code that is committed in `shared/wire`. No protoc needed.

use std::path::{Path, PathBuf};

use prost::Message as _;

/// Why the contract could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A file or folder could not be read or written.
    #[error("access {path}")]
    Access {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files do not compile.
    #[error("compile proto/: {0}")]
    Compile(#[from] protox::Error),
}

fn access(path: &Path) -> impl FnOnce(std::io::Error) -> ContractError {
    let path = path.to_path_buf();
    move |source| ContractError::Access { path, source }
}

/// The checkout's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every `.proto` file below `proto/`, sorted.
fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), ContractError> {
    for entry in std::fs::read_dir(dir).map_err(access(dir))? {
        let path = entry.map_err(access(dir))?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// Writes the generated code and the descriptor set into `out`.
///
/// # Errors
/// Where `proto/` does not compile, or `out` cannot be written.
pub fn generate(out: &Path) -> Result<(), ContractError> {
    let proto = root().join("proto");
    let mut sources = Vec::new();
    files(&proto, &mut sources)?;
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_source_info(true).include_imports(true);
    for source in &sources {
        compiler.open_file(source)?;
    }
    let set = compiler.file_descriptor_set();
    std::fs::create_dir_all(out).map_err(access(out))?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::Codec")
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .compile_fds(set.clone())
        .map_err(access(out))?;
    let mut bare = set;
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    let path = out.join("descriptor.bin");
    std::fs::write(&path, bare.encode_to_vec()).map_err(access(&path))
}
