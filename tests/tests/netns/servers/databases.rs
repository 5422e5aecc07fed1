//! PostgreSQL, MariaDB and Redis.

use std::path::PathBuf;

use tempfile::TempDir;
use tests::netns::Host;
use tests::netns::host::Running;

use super::{debian, folder_of, user};

/// A PostgreSQL with a user `shop`, whose password is `secret`.
pub(crate) struct Postgres {
    _server: Running,
    _folder: TempDir,
}

/// A MariaDB with a user `shop`, whose password is `secret`, and a database `shop`.
pub(crate) struct Mariadb {
    _server: Running,
    _folder: TempDir,
}

/// A Redis.
pub(crate) struct Redis {
    _server: Running,
    _folder: TempDir,
}

// === impl Postgres ===

impl Postgres {
    /// Starts one at port 5432.
    pub(crate) async fn start(host: &Host) -> Self {
        let user = user("postgres", "postgresql");
        let folder = folder_of(user);
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        std::fs::write(&password, "secret\n").expect("a temporary file can be written");
        let mut init = host.command(user, postgres("initdb"));
        init.args(["--no-sync", "--username", "shop", "--auth", "scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(&data);
        let output = host.ended(init).await;
        host.said("initdb", &output);
        let all = "host all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), all).expect("a temporary file can be written");
        let mut server = host.command(user, postgres("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=*", "-c", "fsync=off"]);
        server.arg("-c").arg(format!(
            "unix_socket_directories={}",
            folder.path().display()
        ));
        let server = host.start(server);
        host.is_served(host.addr(), 5_432).await;
        Self {
            _server: server,
            _folder: folder,
        }
    }
}

/// A program of the newest version, which Debian keeps outside of every `PATH`.
fn postgres(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let programs = versions
        .flatten()
        .map(|it| it.path().join("bin").join(program));
    let newest = programs.filter(|path| path.is_file()).max();
    newest.unwrap_or_else(|| {
        panic!("{program} is not installed: it is in the Debian package `postgresql`")
    })
}

// === impl Mariadb ===

impl Mariadb {
    /// Starts one at port 3306.
    pub(crate) async fn start(host: &Host) -> Self {
        let user = user("mysql", "mariadb-server");
        let folder = folder_of(user);
        let data = folder.path().join("data");
        let setup = folder.path().join("setup.sql");
        let statements = "CREATE DATABASE shop;\nCREATE USER shop IDENTIFIED BY 'secret';\n\
                          GRANT ALL ON shop.* TO shop;\n";
        std::fs::write(&setup, statements).expect("a temporary file can be written");
        let mut install = host.command(user, debian("mariadb-install-db", "mariadb-server"));
        install.args([
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]);
        install.arg(format!("--datadir={}", data.display()));
        let output = host.ended(install).await;
        host.said("mariadb-install-db", &output);
        let mut server = host.command(user, debian("mariadbd", "mariadb-server"));
        server.args([
            "--no-defaults",
            "--bind-address=*",
            "--port=3306",
            "--skip-name-resolve",
        ]);
        let paths = [("datadir", data), ("init-file", setup)];
        server.args(paths.map(|(name, path)| format!("--{name}={}", path.display())));
        server.arg(format!(
            "--socket={}",
            folder.path().join("socket").display()
        ));
        let server = host.start(server);
        host.is_served(host.addr(), 3_306).await;
        Self {
            _server: server,
            _folder: folder,
        }
    }
}

// === impl Redis ===

impl Redis {
    /// Starts one at port 6379.
    pub(crate) async fn start(host: &Host) -> Self {
        let user = user("redis", "redis-server");
        let folder = folder_of(user);
        let mut server = host.command(user, debian("redis-server", "redis-server"));
        server.args([
            "--port",
            "6379",
            "--bind",
            "*",
            "-::*",
            "--protected-mode",
            "no",
        ]);
        server.args(["--save", "", "--dir"]).arg(folder.path());
        let server = host.start(server);
        host.is_served(host.addr(), 6_379).await;
        Self {
            _server: server,
            _folder: folder,
        }
    }
}
