//! A keeper alone, for this crate's own tests. The product's is `fullstack-agent keeper`.

fn main() -> anyhow::Result<()> {
    local::keeper::run(local::keeper::KeeperArgs { words: std::env::args().skip(1).collect() })
}
