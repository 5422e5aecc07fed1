//! What picking an endpoint costs, and what making a hash table does.

mod fixture;

use std::hint::black_box;
use std::sync::Arc;

use config::load::parse;
use config::mesh::{Mesh, MeshSettings};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use proxy::upstream::balance::Wish;
use proxy::upstream::destination::Destination;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNTS: [usize; 3] = [1, 10, 1_000];
const RING: &str = "consistentHash: {httpHeaderName: x-user}";
const MAGLEV: &str = "consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 65537}}";
const ALGORITHMS: [(&str, &str); 5] = [
    ("least_request", "simple: LEAST_REQUEST"),
    ("round_robin", "simple: ROUND_ROBIN"),
    ("random", "simple: RANDOM"),
    ("ring", RING),
    ("maglev", MAGLEV),
];

/// A service at so many endpoints under a policy.
fn mesh(balancer: &str, count: usize) -> Mesh {
    let endpoint = |number: usize| {
        let (high, low) = (number / 250, number % 250 + 1);
        format!("  - {{address: 10.0.{high}.{low}}}\n")
    };
    let endpoints: String = (0..count).map(endpoint).collect();
    let yaml = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
{endpoints}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: shop.test
  trafficPolicy: {{loadBalancer: {{{balancer}}}}}
"
    );
    let loaded = parse("mesh.yaml", &yaml, fixture::NAMESPACE);
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    Mesh::new(&loaded.resources, MeshSettings::default())
}

fn destination(mesh: &Mesh) -> Arc<Destination> {
    let compiled = fixture::compiler(&fixture::metrics()).compile(mesh);
    let mut destinations = compiled.destinations.iter();
    Arc::clone(destinations.next().expect("the service has a port"))
}

fn picking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    let mut rng = fastrand::Rng::with_seed(7);
    for (name, balancer) in ALGORITHMS {
        for count in COUNTS {
            let destination = destination(&mesh(balancer, count));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let wish = Wish {
                        key: Some(rng.u64(..)),
                        ..Wish::default()
                    };
                    let (balancer, live) = (&destination.balancer, &destination.live);
                    black_box(balancer.pick(live, &mut rng, &wish).is_some())
                });
            });
        }
    }
    group.finish();
}

fn making(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make");
    for (name, balancer) in ALGORITHMS {
        let mesh = mesh(balancer, 1_000);
        group.bench_function(BenchmarkId::new(name, 1_000), |bencher| {
            let metrics = fixture::metrics();
            bencher.iter_batched_ref(
                || fixture::compiler(&metrics),
                |compiler| compiler.compile(&mesh),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, picking, making);
criterion_main!(benches);
