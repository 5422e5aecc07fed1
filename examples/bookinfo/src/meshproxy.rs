//! The `meshproxy` program: its certificates, and what its `check` says.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::process::Command;

use crate::program::{Product, Program};
use crate::workload::NAMESPACE;

/// The data plane.
pub(crate) const MESHPROXY: Product = Product {
    name: "meshproxy",
    package: "proxy",
    environment: "MESHPROXY_",
};

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct Meshproxy(pub(crate) Program);

/// What `meshproxy check` said.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Exit code; 0 means that the files are fine.
    pub(crate) code: Option<i32>,
    /// Errors and warnings, for people.
    pub(crate) text: String,
}

impl Meshproxy {
    /// A call of the program, free of settings from the environment.
    pub(crate) fn command(&self) -> Command {
        self.0.command()
    }

    /// Lets the program make certificates in `folder` for these service accounts.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub(crate) async fn certify(
        &self,
        folder: &Path,
        service_accounts: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let mut command = self.command();
        command.arg("dev-certs").arg("--out").arg(folder);
        for account in service_accounts {
            command
                .arg("--identity")
                .arg(format!("{NAMESPACE}/{account}"));
        }
        self.0.succeed(&mut command).await?;
        Ok(())
    }

    /// Lets the program check `paths`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) async fn check(&self, paths: &[&Path]) -> anyhow::Result<Verdict> {
        let mut command = self.command();
        let output = self.0.output(command.arg("check").args(paths)).await?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        Ok(Verdict {
            code: output.status.code(),
            text,
        })
    }
}
