//! What sqlx's macros do not see by themselves.

fn main() {
    // A migration was added.
    println!("cargo:rerun-if-changed=../migrations");
    // Queries are checked against the committed `.sqlx`, not against whatever database an exported
    // DATABASE_URL names: inside one of our own sandboxes it is the user's. `cargo xtask sqlx` says
    // otherwise.
    println!("cargo:rerun-if-env-changed=SQLX_OFFLINE");
    if std::env::var_os("SQLX_OFFLINE").is_none() {
        println!("cargo:rustc-env=SQLX_OFFLINE=true");
    }
}
