//! The workloads of the mesh that is measured: an authority, and a certificate for each side of a
//! hop.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// The place of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// On its own, in plain text.
    Plain,
    /// At the client: takes plain text, speaks mutual TLS.
    Client,
    /// At the server: takes mutual TLS, speaks plain text.
    Server,
}

/// Files of certificates and keys.
#[derive(Debug)]
pub(crate) struct Identities(PathBuf);

// === impl Identities ===

impl Identities {
    /// Makes them in `folder`: keys are of P-256, which all proxies have by default.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(folder: &Path) -> Result<Identities> {
        let mut params = CertificateParams::default();
        // Without one, root and leaf would have the same subject and look like one certificate.
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of the comparison");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().context("make a key")?;
        let root = CertifiedIssuer::self_signed(params, key).context("make an authority")?;
        let identities = Identities(folder.to_owned());
        for side in [Side::Client, Side::Server] {
            let folder = identities.folder(side);
            fs::create_dir_all(&folder).context("make a folder")?;
            let name = format!("{side:?}").to_lowercase();
            let uri = format!("spiffe://cluster.local/ns/default/sa/{name}");
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(uri.try_into().context("name a side")?)];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate().context("make a key")?;
            let leaf = params.signed_by(&key, &root).context("sign")?;
            let (chain, key) = (leaf.pem(), key.serialize_pem());
            for (file, text) in [
                ("cert-chain.pem", &chain),
                ("key.pem", &key),
                ("root-cert.pem", &root.pem()),
                // HAProxy has chain and key in one file.
                ("both.pem", &format!("{chain}{key}")),
            ] {
                let file = folder.join(file);
                fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            }
        }
        Ok(identities)
    }

    /// Where the files of a side are: `cert-chain.pem`, `key.pem`, `root-cert.pem`, `both.pem`.
    pub(crate) fn folder(&self, side: Side) -> PathBuf {
        self.0.join(match side {
            Side::Plain => "none",
            Side::Client => "client",
            Side::Server => "server",
        })
    }

    /// One of these files.
    pub(crate) fn file(&self, side: Side, name: &str) -> String {
        self.folder(side).join(name).display().to_string()
    }
}
