//! OpenSSH.

use std::path::PathBuf;

use tempfile::TempDir;
use tests::netns::Host;
use tests::netns::host::Running;
use tokio::process::Command;

use super::debian;

/// A server at port 22 that lets root in by a key, and what a client needs.
pub(crate) struct SecureShell {
    _server: Running,
    folder: TempDir,
}

// === impl SecureShell ===

impl SecureShell {
    /// Starts it.
    pub(crate) async fn start(host: &Host) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let at = folder.path().display();
        for key in ["host_key", "client_key"] {
            let file = format!("{at}/{key}");
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &file];
            host.says("ssh-keygen", &arguments).await;
        }
        // Where the server keeps nothing, but insists on it.
        std::fs::create_dir_all("/run/sshd").expect("root may make folders");
        let config = folder.path().join("sshd_config");
        let text = format!(
            "Port 22\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/client_key.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nUseDNS no\n"
        );
        std::fs::write(&config, text).expect("a temporary file can be written");
        let mut server = host.command(0, debian("sshd", "openssh-server"));
        server.args(["-D", "-e", "-f"]).arg(&config);
        let server = host.start(server);
        host.is_served(host.addr(), 22).await;
        Self {
            _server: server,
            folder,
        }
    }

    /// `ssh` or `scp` on `host`, with the key.
    pub(crate) fn client(&self, host: &Host, program: &str) -> Command {
        let mut client = host.command(0, debian(program, "openssh-client"));
        client
            .arg("-q")
            .arg("-i")
            .arg(self.folder.path().join("client_key"));
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
        ] {
            client.args(["-o", option]);
        }
        client
    }

    /// A file that does not exist yet.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
