//! Compiles the two protocols that Terraform speaks to its plugins. No protoc needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(["tfplugin6.proto", "goplugin.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(set)?;
    Ok(())
}
