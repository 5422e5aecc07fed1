//! Whatever happens in whatever order: when it ends, each proxy has the table that files would give it.
//!
//! One control plane feeds three proxies of different workloads. Documents come, change, go and get other
//! names and files; some are wrong; control plane, connections and proxies end and come back. Now and then
//! it is waited until every proxy says and does what one says and does that reads the same documents as
//! files.

mod compare;
mod documents;
mod folder;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::origin::{Protocol, text};
use tests::wait::PATIENCE;
use tests::{Control, Origin};
use tokio::time::{Instant, sleep};

use documents::{Backends, Document, document, one_of};
use folder::Folder;
use subject::{Role, Subject};

/// Has a run take other steps than usual: a number, as a run says it, or `random`.
const SEED: &str = "MESHPROXY_SEQUENCES_SEED";
/// Steps of runs that are told nothing: the same in each, so that a change fails by what it changes. How things
/// meet in time is left to chance in any case.
const USUAL_SEED: u64 = 2;
/// Sequences of a run.
const SEQUENCES: u32 = 5;
/// Steps of a sequence.
const STEPS: u32 = 14;
/// Documents that there are at the begin.
const FIRST: u32 = 12;
/// Time between two looks at proxies.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time that passes as a step: what is written within 100 ms is read as one change.
const PASSES_MS_MAX: u64 = 300;
/// What workloads ask for: all that documents may name, and what nobody has.
const HOSTS: [&str; 20] = [
    "a",
    "b",
    "c",
    "a.default",
    "b.shop",
    "a.default.svc.cluster.local",
    "b.default.svc.cluster.local",
    "c.default.svc.cluster.local",
    "a.shop.svc.cluster.local",
    "b.shop.svc.cluster.local",
    "c.shop.svc.cluster.local",
    "a.istio-system.svc.cluster.local",
    "b.istio-system.svc.cluster.local",
    "one.example.com",
    "Two.example.com",
    "mixed.example.com",
    "other.example.com",
    "other.default.svc.cluster.local",
    "mark.test",
    "nobody.test",
];

/// Everything that runs.
struct World {
    rng: Rng,
    folder: Folder,
    backends: Backends,
    _origins: [Origin; 2],
    /// Where the workloads are.
    application: Origin,
    control: Option<Control>,
    is_hung: bool,
    subjects: [Subject; 3],
    temporary: TempDir,
    /// Counts what is waited for.
    marks: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_each_proxy_ends_with_the_table_of_the_files() {
    let seed = match std::env::var(SEED).as_deref() {
        Ok("random") => fastrand::u64(..),
        Ok(written) => written.parse().expect("a number, or `random`"),
        Err(_) => USUAL_SEED,
    };
    eprintln!("{SEED}={seed}");
    let mut world = World::start(Rng::with_seed(seed)).await;
    world.agree().await;

    for number in 0..SEQUENCES {
        eprintln!("sequence {number}");
        for _ in 0..STEPS {
            let step = world.step().await;
            eprintln!("  {step}");
        }
        world.agree().await;
    }
}

// === impl World ===

impl World {
    async fn start(mut rng: Rng) -> Self {
        let temporary = TempDir::new().expect("a temporary folder can be made");
        let mut folder = Folder::new(&temporary.path().join("mesh"));
        let origins = [echo().await, echo().await];
        let backends = origins.each_ref().map(Origin::addr);
        let application = echo().await;
        let settings = documents::settings(&mut rng, &backends);
        folder.put(&mut rng, settings);
        // Until there is one no proxy asks.
        let control = application.addr();
        let subjects = [
            Subject::new(Role::Sidecar, "default", "web", control).await,
            Subject::new(Role::Sidecar, "shop", "cart", control).await,
            Subject::new(Role::Gateway, "shop", "edge", control).await,
        ];
        let mut world = Self {
            rng,
            folder,
            backends,
            _origins: origins,
            application,
            control: None,
            is_hung: false,
            subjects,
            temporary,
            marks: 0,
        };
        // Who has no listeners of its own takes a port that others may have.
        for at in 0..world.subjects.len() {
            world.change_listeners(at);
        }
        world.control_starts().await;
        for subject in &mut world.subjects {
            subject.start().await;
        }
        for _ in 0..FIRST {
            let first = document(&mut world.rng, &world.backends);
            eprintln!("  {}", world.folder.put(&mut world.rng, first));
        }
        world
    }

    /// Something happens.
    async fn step(&mut self) -> String {
        let at = self.rng.usize(..self.subjects.len());
        match self.rng.u8(..40) {
            0..12 => {
                let document = document(&mut self.rng, &self.backends);
                self.folder.put(&mut self.rng, document)
            }
            12..17 => self.folder.delete(&mut self.rng, may_go),
            17..19 => self.folder.rename(&mut self.rng, may_be_renamed),
            19 => self.folder.move_file(&mut self.rng),
            20..22 => self.folder.break_one(&mut self.rng),
            22 => self.folder.mend(&mut self.rng),
            23..25 => self.change_listeners(at),
            25..29 => self.ask(at).await,
            29 => {
                self.subjects[at].gate.cut();
                format!("cut the connection of {}", self.subjects[at].name())
            }
            30 => {
                self.subjects[at].gate.shut();
                format!("keep {} from the control plane", self.subjects[at].name())
            }
            31 => self.restart(at).await,
            32 => self.upgrade(at).await,
            33..35 => self.control_ends().await,
            35..37 => self.control_hangs(),
            _ => {
                let passes = self.rng.u64(..PASSES_MS_MAX);
                sleep(Duration::from_millis(passes)).await;
                format!("{passes} ms pass")
            }
        }
    }

    fn change_listeners(&mut self, at: usize) -> String {
        let subject = &self.subjects[at];
        let listeners = subject.listeners(&mut self.rng, self.application.addr());
        self.folder.put(&mut self.rng, listeners)
    }

    async fn ask(&mut self, at: usize) -> String {
        let host = one_of(&mut self.rng, &HOSTS);
        self.subjects[at].ask(host).await;
        format!("{} asks for {host}", self.subjects[at].name())
    }

    async fn restart(&mut self, at: usize) -> String {
        if !self.subjects[at].has_state() {
            return "restart nobody".to_owned();
        }
        self.subjects[at].restart().await;
        format!("restart {}", self.subjects[at].name())
    }

    async fn upgrade(&mut self, at: usize) -> String {
        self.subjects[at].upgrade().await;
        format!("upgrade {}", self.subjects[at].name())
    }

    /// Ends the control plane, or starts it again.
    async fn control_ends(&mut self) -> String {
        if self.control.take().is_some() {
            self.is_hung = false;
            return "kill the control plane".to_owned();
        }
        self.control_starts().await
    }

    async fn control_starts(&mut self) -> String {
        // It tells nobody anything before all of it can be used once.
        let mended = self.folder.mend(&mut self.rng);
        let keys = self.temporary.path().join("keys");
        let control = start_control(self.folder.path(), &keys).await;
        let plain = control.plain.expect("plain text");
        self.subjects.iter().for_each(|it| it.gate.lead_to(plain));
        self.control = Some(control);
        format!("{mended} and start the control plane")
    }

    fn control_hangs(&mut self) -> String {
        let Some(control) = &self.control else {
            return "hang nobody".to_owned();
        };
        self.is_hung = !self.is_hung;
        control.signal(if self.is_hung {
            Signal::STOP
        } else {
            Signal::CONT
        });
        format!("the control plane hangs: {}", self.is_hung)
    }

    /// Waits until all proxies say and do what those say and do that read the files.
    async fn agree(&mut self) {
        if self.is_hung {
            self.control_hangs();
        }
        if self.control.is_none() {
            eprintln!("  {}", self.control_starts().await);
        }
        self.mark();
        let text = self.folder.text();
        for subject in &self.subjects {
            subject.gate.open();
            let reading = subject.reading(self.temporary.path(), &text).await;
            let read = subject.read(&reading).await;
            self.await_table(subject, &read).await;
            for (door, [told, read]) in subject.doors() {
                let told = compare::answers(told, &HOSTS).await;
                let read = compare::answers(read, &HOSTS).await;
                let difference = compare::difference(&told, &subject.renumbered(&read));
                if let Some(difference) = difference {
                    self.differs(
                        subject,
                        &format!("requests at its {door} port"),
                        &difference,
                    );
                }
            }
            // It was no state on the way to another one.
            if let Some(difference) = compare::difference(&subject.told().await, &read) {
                self.differs(subject, "its table after that", &difference);
            }
        }
        self.folder.note_in_use();
    }

    /// Writes what tells how much of the folder a proxy has.
    fn mark(&mut self) {
        self.marks += 1;
        let head = |kind| (kind, "istio-system", "mark".to_owned());
        let entry = format!(
            "spec: {{hosts: [mark.test], ports: [{{number: 80, name: http, protocol: HTTP}}], \
             resolution: STATIC, endpoints: [{{address: 127.0.0.1, ports: {{http: {}}}}}]}}",
            self.backends[0].port()
        );
        let routes = format!(
            "spec: {{hosts: [mark.test], gateways: [mesh, shop/edge], \
             http: [{{name: mark-{}, route: [{{destination: {{host: mark.test}}}}]}}]}}",
            self.marks
        );
        for (kind, lines) in [("ServiceEntry", entry), ("VirtualService", routes)] {
            let document = Document::new(head(kind), "", &lines);
            self.folder.put(&mut self.rng, document);
        }
    }

    /// Waits until a proxy that was asked for everything has a table.
    async fn await_table(&self, subject: &Subject, read: &Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            if subject.role == Role::Sidecar {
                subject.ask_for_all(&HOSTS).await;
            }
            let Some(difference) = compare::difference(&subject.told().await, read) else {
                return;
            };
            if Instant::now() > end {
                self.differs(subject, "its table", &difference);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Ends the test with all that helps to see why.
    fn differs(&self, subject: &Subject, what: &str, difference: &str) -> ! {
        let kept = std::env::temp_dir().join(format!("sequences-{}", std::process::id()));
        let kept: PathBuf = match std::fs::write(&kept, self.folder.text()) {
            Ok(()) => kept,
            Err(_) => PathBuf::from("nowhere"),
        };
        panic!(
            "{}: {what} is not what files give; they are in {}\n{difference}",
            subject.name(),
            kept.display()
        );
    }
}

/// Whether a document may go: without the others nobody could be asked, or hosts that nobody has would be
/// looked up elsewhere.
fn may_go(document: &Document) -> bool {
    let stays = ["Sidecar", "Gateway", "ConfigMap"].contains(&document.kind);
    !stays && document.name != "mark"
}

/// The same for another name: one of a Kubernetes service is a host that nobody asks for, and one of
/// limits says of what they are.
fn may_be_renamed(document: &Document) -> bool {
    may_go(document) && !["Service", "RateLimitPolicy"].contains(&document.kind)
}

async fn start_control(mesh: &std::path::Path, keys: &std::path::Path) -> Control {
    Control::start_from(mesh, keys, &["--plain-addr", "127.0.0.1:0"]).await
}

/// An origin that answers with what it was asked.
async fn echo() -> Origin {
    Origin::serving(Protocol::Http1, |request| async move {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|it| it.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let seen = json!({
            "path": request.uri().path(),
            "host": header("host"),
            "added": header("x-added"),
        });
        text(seen.to_string())
    })
    .await
}
