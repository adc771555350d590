mod support;
use engine::orchestrator::Orchestrator as _;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    or_skip!(skip());
    let world = World::new().await;
    for round in 0..5 {
        let mut spec = spec();
        spec.restart_count = round;
        let start = std::time::Instant::now();
        world.orchestrator.ensure(&spec).await.unwrap();
        println!("ensure {:?}", start.elapsed());
        world.up(&spec).await;
        println!("up {:?}", start.elapsed());
        if round == 4 {
            let script = std::env::var("SMOKE").unwrap_or_else(|_| {
                "id; env; ls -la / ~ /etc; ps aux; cat /proc/1/status; mount; ip addr; df -h; cat /proc/self/cgroup".into()
            });
            let out = world.sh(&spec, &script).await;
            println!("{}\n{}\n{:?}", out.out, out.err, out.exit);
            let status = std::fs::read_dir(world.sandbox_folder(&spec)).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
            println!("{status:?}");
            println!("{}", world.log(&spec));
            if let Ok(n) = std::env::var("SMOKE_SLEEP") {
                tokio::time::sleep(std::time::Duration::from_secs(n.parse().unwrap())).await;
            }
        }
        world.remove(&spec).await;
    }
}
