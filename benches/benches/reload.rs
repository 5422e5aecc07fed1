//! From files to a published snapshot, as the running proxy does it: read and check, look up,
//! compile, publish. It looks for oddities between resources only after that, so they do not count.
//!
//! `first` starts from nothing. `change` is one edited weight among all `VirtualService`s.

mod fixture;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::load::Loader;
use config::mesh::{Mesh, MeshSettings};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use proxy::snapshot::Publisher;
use proxy::table::compile::Compiler;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COUNTS: [usize; 3] = [10, 1_000, 10_000];
/// Services in one file, each with its `VirtualService` and its `DestinationRule`.
const PER_FILE: usize = 100;

/// The control thread's part of a proxy.
struct Control {
    paths: Vec<PathBuf>,
    loader: Loader,
    mesh: Option<Mesh>,
    compiler: Compiler,
    publisher: Publisher,
}

fn reload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reload");
    group.sample_size(10);
    for count in COUNTS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in 0..count.div_ceil(PER_FILE) {
            write_file(folder.path(), file, count, 90);
        }
        group.bench_function(BenchmarkId::new("first", count), |bencher| {
            bencher.iter_with_large_drop(|| {
                let mut control = Control::new(folder.path());
                control.reload();
                control
            });
        });
        group.bench_function(BenchmarkId::new("change", count), |bencher| {
            let mut control = Control::new(folder.path());
            control.reload();
            let mut weight = 90;
            bencher.iter_custom(|iterations| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..iterations {
                    weight = 100 - weight;
                    write_file(folder.path(), 0, count, weight);
                    let started = Instant::now();
                    control.reload();
                    elapsed += started.elapsed();
                }
                elapsed
            });
        });
    }
    group.finish();
}

/// Writes the file with the services from `file * PER_FILE` on; its first split has `weight`.
fn write_file(folder: &Path, file: usize, count: usize, weight: u32) {
    let from = file * PER_FILE;
    let mut text = String::new();
    for number in from..count.min(from + PER_FILE) {
        let weight = if number == from { weight } else { 90 };
        write_service(&mut text, number, weight).expect("a string takes all text");
    }
    fs::write(folder.join(format!("{file:04}.yaml")), text).expect("write a file");
}

fn write_service(text: &mut String, number: usize, weight: u32) -> std::fmt::Result {
    let host = format!("service-{number}.default.svc.cluster.local");
    let rest = 100 - weight;
    write!(
        text,
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: service-{number}}}
spec:
  hosts: [{host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 192.0.2.1, labels: {{version: v1}}}}
  - {{address: 192.0.2.2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: service-{number}}}
spec:
  host: {host}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: service-{number}}}
spec:
  hosts: [{host}]
  http:
  - match:
    - uri: {{prefix: /api}}
      headers: {{end-user: {{exact: jason}}}}
    route:
    - destination: {{host: {host}, subset: v2}}
  - route:
    - destination: {{host: {host}, subset: v1}}
      weight: {weight}
    - destination: {{host: {host}, subset: v2}}
      weight: {rest}
"
    )
}

// === impl Control ===

impl Control {
    fn new(folder: &Path) -> Self {
        Self {
            paths: vec![folder.to_owned()],
            loader: Loader::new(fixture::NAMESPACE),
            mesh: None,
            compiler: fixture::compiler(&fixture::metrics()),
            publisher: Publisher::default(),
        }
    }

    /// What a signal from the file watcher sets off.
    fn reload(&mut self) {
        let loaded = self.loader.load(&self.paths);
        assert_eq!(loaded.problems, []);
        let mesh = match &self.mesh {
            Some(mesh) => mesh.next(&loaded.resources),
            None => Mesh::new(&loaded.resources, MeshSettings::default()),
        };
        let compiled = self.compiler.compile(&mesh);
        self.publisher
            .publish(compiled.table, compiled.destinations);
        self.mesh = Some(mesh);
    }
}

criterion_group!(benches, reload);
criterion_main!(benches);
