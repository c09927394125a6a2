//! Builds anew when the front end was built anew: files that come are embedded, too.

fn main() {
    // A folder that is missing would make cargo run this each time.
    if std::fs::create_dir_all("dist").is_ok() {
        println!("cargo::rerun-if-changed=dist");
    }
}
