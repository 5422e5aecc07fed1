//! `meshproxy dev-certs`: a root and certificates below it, for laptops and tests.
//!
//! The root's key lies beside its certificate, which is no way to run a mesh that others depend on.
//! Run again, it keeps the root and the keys and renews the certificates, each by one rename, so that
//! a running proxy never sees a chain without its key. What it did not make it leaves alone: a
//! certificate is its own if the root that lies there signed it.

mod folder;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use authority::{Authority, AuthorityError, Key, KeyError, ServerName, Validity};
use config::spiffe::{SpiffeError, SpiffeId};

use crate::bootstrap::{Account, DevCertsArgs};
use folder::{CHAIN, FileError, Folder, KEY, ROOTS};

/// The certificate of the root.
const ROOT: &str = "root-cert.pem";
/// Its key.
const ROOT_KEY: &str = "root-key.pem";
/// By its name a root is known as made here.
const ROOT_NAME: &str = "meshproxy dev-certs";
/// How long a root is valid, ten years: to renew it is to make everybody believe another one.
const ROOT_LIFETIME: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// Folder of the certificates of gateways. No folder of an identity has a name without a dot.
const GATEWAYS: &str = "gateways";

/// What was made.
#[derive(Debug)]
struct Made {
    out: PathBuf,
    root: Root,
    identities: Vec<(Account, SpiffeId, Leaf)>,
    gateways: Vec<(Vec<ServerName>, Leaf)>,
}

/// A root.
#[derive(Debug)]
struct Root {
    authority: Authority,
    /// Whether it was there before.
    kept: bool,
}

/// A certificate below the root.
#[derive(Debug)]
struct Leaf {
    folder: PathBuf,
    validity: Validity,
    /// Whether there was one before.
    renewed: bool,
}

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
enum DevCertsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}", path.display())]
    Authority {
        path: PathBuf,
        error: AuthorityError,
    },
    #[error(
        "{}: was not made by dev-certs; name another folder with --out, or move it away",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error("{}: is there without {missing}; restore that, or move it away", path.display())]
    Half {
        path: PathBuf,
        missing: &'static str,
    },
    #[error("--identity: {0}")]
    Identity(#[from] SpiffeError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{}: {error}", path.display())]
    Unusable { path: PathBuf, error: KeyError },
}

/// Makes what the arguments ask for and prints what it made and how to use it; failure with the reason
/// on stderr if something cannot be made. What was made before stays.
pub fn run(arguments: &DevCertsArgs) -> ExitCode {
    match make(arguments, SystemTime::now()) {
        Ok(made) => {
            let mut out = io::stdout().lock();
            match print(&mut out, &made).and_then(|()| out.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            eprintln!("meshproxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(arguments: &DevCertsArgs, now: SystemTime) -> Result<Made, DevCertsError> {
    let out = Folder::open(&arguments.out)?;
    let root = root(&out, now)?;
    let lifetime = arguments.lifetime();
    let mut identities = Vec::new();
    for account in &arguments.identities {
        let Account { namespace, name } = account;
        let id = SpiffeId::workload(&arguments.trust_domain, namespace, name)?;
        let folder = arguments.out.join(format!("{namespace}.{name}"));
        let leaf = leaf(&folder, &root, |authority, key| {
            authority.sign_workload(&id, key, now, lifetime)
        })?;
        identities.push((account.clone(), id, leaf));
    }
    let mut gateways = Vec::new();
    for names in &arguments.gateways {
        let names = names.0.clone();
        let folder = arguments.out.join(GATEWAYS).join(folder_name(&names));
        let leaf = leaf(&folder, &root, |authority, key| {
            authority.sign_server(&names, key, now, lifetime)
        })?;
        gateways.push((names, leaf));
    }
    Ok(Made {
        out: arguments.out.clone(),
        root,
        identities,
        gateways,
    })
}

/// The root that is there, or a new one.
fn root(out: &Folder, now: SystemTime) -> Result<Root, DevCertsError> {
    let in_root = |error| DevCertsError::Authority {
        path: out.path(ROOT),
        error,
    };
    let authority = match (out.read(ROOT)?, out.read(ROOT_KEY)?) {
        (Some(certificate), Some(key)) => {
            let authority = Authority::load(&certificate, &key).map_err(in_root)?;
            if !folder::is_named(authority.certificate(), ROOT_NAME) {
                return Err(DevCertsError::Foreign(out.path(ROOT)));
            }
            let kept = true;
            return Ok(Root { authority, kept });
        }
        (Some(_), None) => {
            return Err(DevCertsError::Half {
                path: out.path(ROOT),
                missing: ROOT_KEY,
            });
        }
        (None, Some(_)) => {
            return Err(DevCertsError::Half {
                path: out.path(ROOT_KEY),
                missing: ROOT,
            });
        }
        (None, None) => Authority::root(ROOT_NAME, now, ROOT_LIFETIME).map_err(in_root)?,
    };
    out.create_secret(ROOT_KEY, &authority.key_pem())?;
    out.replace(ROOT, &authority.chain_pem())?;
    Ok(Root {
        authority,
        kept: false,
    })
}

/// Makes or renews the certificate in a folder.
fn leaf(
    path: &Path,
    root: &Root,
    sign: impl Fn(&Authority, &Key) -> Result<authority::Issued, AuthorityError>,
) -> Result<Leaf, DevCertsError> {
    let folder = Folder::open(path)?;
    let authority = &root.authority;
    let before = folder.read(CHAIN)?;
    if before
        .as_ref()
        .is_some_and(|it| !folder::is_signed_by(it, authority))
    {
        return Err(DevCertsError::Foreign(folder.path(CHAIN)));
    }
    // More roots may have been added by hand.
    let roots = folder.read(ROOTS)?;
    if roots.as_ref().is_some_and(|it| !folder::has(it, authority)) {
        return Err(DevCertsError::Foreign(folder.path(ROOTS)));
    }
    let key = match folder.read(KEY)? {
        Some(text) => Key::from_pem(&text).map_err(|error| DevCertsError::Unusable {
            path: folder.path(KEY),
            error,
        })?,
        None => {
            let key = Key::generate()?;
            folder.create_secret(KEY, &key.to_pem())?;
            key
        }
    };
    if roots.is_none() {
        folder.replace(ROOTS, &authority.chain_pem())?;
    }
    let issued = sign(authority, &key).map_err(|error| DevCertsError::Authority {
        path: path.to_owned(),
        error,
    })?;
    folder.replace(CHAIN, &issued.chain_pem())?;
    Ok(Leaf {
        folder: path.to_owned(),
        validity: issued.validity(),
        renewed: before.is_some(),
    })
}

/// The first name, in characters that need no quotes.
fn folder_name(names: &[ServerName]) -> String {
    let first = names.first().map(ServerName::to_string).unwrap_or_default();
    first.replace(['*', ':'], "_")
}

fn print(out: &mut impl Write, made: &Made) -> io::Result<()> {
    let until = |validity: &Validity| httpdate::fmt_http_date(validity.not_after);
    let root = made.out.join(ROOT);
    let how = match made.root.kept {
        true => "kept",
        false => "made",
    };
    let over = until(&made.root.authority.validity());
    writeln!(out, "root      {how}, until {over}")?;
    writeln!(out, "          {}", root.display())?;
    let how = |leaf: &Leaf| match leaf.renewed {
        true => "renewed",
        false => "made",
    };
    for (_, id, leaf) in &made.identities {
        let over = until(&leaf.validity);
        writeln!(out, "identity  {id}: {}, until {over}", how(leaf))?;
        writeln!(out, "          {}", leaf.folder.display())?;
    }
    for (names, leaf) in &made.gateways {
        let names: Vec<String> = names.iter().map(ServerName::to_string).collect();
        let over = until(&leaf.validity);
        writeln!(
            out,
            "gateway   {}: {}, until {over}",
            names.join(", "),
            how(leaf)
        )?;
        writeln!(out, "          {}", leaf.folder.display())?;
    }
    usage(out, made)
}

fn usage(out: &mut impl Write, made: &Made) -> io::Result<()> {
    if let Some((account, _, leaf)) = made.identities.first() {
        let Account { namespace, name } = account;
        writeln!(out, "\nA proxy is one of them by its folder:")?;
        writeln!(
            out,
            "    meshproxy --namespace {namespace} --service-account {name} --identity-dir {} --config …",
            leaf.folder.display()
        )?;
    }
    if let Some((names, leaf)) = made.gateways.first() {
        let folder = leaf.folder.display();
        writeln!(out, "\nA server of a Gateway names the files:")?;
        writeln!(out, "    tls:")?;
        writeln!(out, "      mode: SIMPLE")?;
        writeln!(out, "      serverCertificate: {folder}/{CHAIN}")?;
        writeln!(out, "      privateKey: {folder}/{KEY}")?;
        let first = names.first().map(ServerName::to_string).unwrap_or_default();
        let root = made.out.join(ROOT);
        let host = first.replacen('*', "www", 1);
        writeln!(out, "Clients believe the root:")?;
        writeln!(out, "    curl --cacert {} https://{host}/", root.display())?;
    }
    Ok(())
}
