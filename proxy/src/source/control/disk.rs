//! What the control plane told last, on disk: a file of lines of JSON that is replaced as a whole.
//!
//! Its first line says whose it is and has a checksum of the rest. One that is torn, or of somebody
//! else, is left alone. Secrets are among the resources, so that only the owner may read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use config::Resource;
use config::wire::{self, Demand, Name};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::book::Book;
use super::store::{Share, Store, Told};
use super::{Shared, State};

/// The form of the file; another one is not read.
const FORMAT: u32 = 1;
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How long changes are gathered before they are written.
const QUIET: Duration = Duration::from_secs(1);
/// Least time between two writings, as each is of everything.
const WRITTEN_MIN: Duration = Duration::from_secs(5);
/// Only the owner reads what may be secret.
const SECRET_MODE: u32 = 0o600;
/// And looks into a folder that we make.
const FOLDER_MODE: u32 = 0o700;

/// The file of one proxy.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    node: String,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Whose it is.
    node: String,
    /// The program that wrote it: another one may know fields that this one skipped.
    program: String,
    /// SHA-256 of all that follows.
    checksum: String,
}

/// Every further line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Resource {
        name: String,
        version: String,
        document: String,
    },
    Demand {
        demand: String,
        found: bool,
    },
    Locality {
        locality: String,
    },
}

/// What is to be written: taken from a state in little time, and made text of elsewhere.
struct Copied {
    resources: Vec<(Name, Box<str>, Arc<Resource>)>,
    demands: Vec<(Demand, bool)>,
    locality: Option<Box<str>>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("read")]
    Read(#[from] io::Error),
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is torn, or was changed by somebody else")]
    Torn,
    #[error("it is of {0}")]
    Foreign(String),
    #[error("its form is {0}, and not {FORMAT}")]
    Format(u32),
}

// === impl Disk ===

impl Disk {
    pub(super) fn new(path: PathBuf, node: &str) -> Self {
        Self {
            path,
            node: node.to_owned(),
        }
    }

    /// Takes up what was kept; says whether there was anything.
    pub(super) fn restore(&self, state: &mut State) -> bool {
        let path = self.path.display();
        match self.read(state) {
            Ok(true) => {
                tracing::info!(%path, resources = state.store.len(), "read what was told last");
                true
            }
            Ok(false) => false,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%path, error, "what was told last cannot be used");
                false
            }
        }
    }

    fn read(&self, state: &mut State) -> Result<bool, Unusable> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        *state = read(file, &self.node)?;
        Ok(true)
    }

    /// Writes whatever changes, for ever. Only what is to be written is taken here, on the control thread.
    pub(super) async fn keep(self, shared: Shared) {
        let mut changed = shared.changed.subscribe();
        let mut is_said = false;
        let mut kept = None;
        while changed.changed().await.is_ok() {
            sleep(QUIET).await;
            changed.mark_unchanged();
            let copied = Copied::of(&shared.locked());
            let (path, node, before) = (self.path.clone(), self.node.clone(), kept.take());
            let writing = tokio::task::spawn_blocking(move || {
                write_changed(&path, &copied, &node, before.as_deref())
            });
            match writing.await.map_err(io::Error::other).flatten() {
                Ok(checksum) => {
                    kept = Some(checksum);
                    is_said = false;
                }
                Err(error) if !is_said => {
                    is_said = true;
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "what is told cannot be kept");
                }
                Err(_) => {}
            }
            sleep(WRITTEN_MIN - QUIET).await;
        }
    }
}

// === impl Copied ===

impl Copied {
    fn of(state: &State) -> Self {
        let resources = state.store.iter();
        let resources = resources.map(|(name, held)| {
            let resource = Arc::clone(&held.resource);
            (name.clone(), held.version.clone(), resource)
        });
        let demands = state.book.iter();
        let demands = demands.filter_map(|(demand, found)| Some((demand.clone(), found?)));
        Self {
            resources: resources.collect(),
            demands: demands.collect(),
            locality: state.locality.clone(),
        }
    }

    /// All lines but the first.
    fn body(&self) -> String {
        let mut body = String::new();
        let mut add = |line: &Line| {
            // Text as keys and values is always JSON.
            body.push_str(&serde_json::to_string(line).unwrap_or_default());
            body.push('\n');
        };
        for (name, version, resource) in &self.resources {
            add(&Line::Resource {
                name: name.to_string(),
                version: version.to_string(),
                document: wire::document(resource),
            });
        }
        for (demand, found) in &self.demands {
            let (demand, found) = (demand.to_string(), *found);
            add(&Line::Demand { demand, found });
        }
        if let Some(locality) = &self.locality {
            let locality = locality.to_string();
            add(&Line::Locality { locality });
        }
        body
    }
}

/// The state of a proxy that a file has, to its end.
pub(super) fn read(file: File, node: &str) -> Result<State, Unusable> {
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(Unusable::TooLarge);
    }
    parse(&text, node)
}

/// What a file of a state has.
pub(super) fn written(state: &State, node: &str) -> String {
    let body = Copied::of(state).body();
    headed(&body, checksum(&body), node)
}

/// Writes a file unless its checksum is that of before; says which it has.
fn write_changed(
    path: &Path,
    copied: &Copied,
    node: &str,
    before: Option<&str>,
) -> io::Result<String> {
    let body = copied.body();
    let checksum = checksum(&body);
    if before != Some(checksum.as_str()) {
        replace(path, &headed(&body, checksum.clone(), node))?;
    }
    Ok(checksum)
}

/// A file with its first line.
fn headed(body: &str, checksum: String, node: &str) -> String {
    let head = Head {
        format: FORMAT,
        node: node.to_owned(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        checksum,
    };
    let head = serde_json::to_string(&head).unwrap_or_default();
    format!("{head}\n{body}")
}

/// The state that a file has.
fn parse(text: &str, node: &str) -> Result<State, Unusable> {
    let (head, body) = text.split_once('\n').ok_or(Unusable::Torn)?;
    let head: Head = serde_json::from_str(head).map_err(|_| Unusable::Torn)?;
    if head.format != FORMAT {
        return Err(Unusable::Format(head.format));
    }
    if head.checksum != checksum(body) {
        return Err(Unusable::Torn);
    }
    if head.node != node {
        return Err(Unusable::Foreign(head.node));
    }
    let same_program = head.program == env!("CARGO_PKG_VERSION");
    let (mut store, mut book, mut place) = (Store::default(), Book::default(), None);
    let now = Instant::now();
    for line in body.lines() {
        match serde_json::from_str(line).map_err(|_| Unusable::Torn)? {
            Line::Resource {
                name,
                version,
                document,
            } => {
                let share = match name.starts_with("EndpointSlice/") {
                    true => Share::Endpoints,
                    false => Share::Resources,
                };
                let told = Told {
                    name: &name,
                    version: if same_program { &version } else { "" },
                    document: &document,
                };
                let taken = store.apply(share, std::iter::once(told), &[]);
                taken.map_err(|_| Unusable::TooLarge)?;
            }
            Line::Demand { demand, found } => {
                if let Ok(demand) = demand.parse::<Demand>() {
                    book.restore(demand, found, now);
                }
            }
            Line::Locality { locality } => place = Some(locality.into()),
        }
    }
    Ok(State {
        store,
        book,
        locality: place,
        ..State::default()
    })
}

fn checksum(body: &str) -> String {
    let digest = digest(&SHA256, body.as_bytes());
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

/// Puts a file in the place of one of the same name, or leaves everything as it was.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    // Two processes may write while one takes the other's place.
    let unfinished = path.with_extension(format!("new.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(SECRET_MODE).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    // So that the new name outlives a loss of power, too.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
