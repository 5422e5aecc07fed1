//! A generation comes into use.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use config::analyze::analyze;
use config::load::Loaded;
use config::validate::UNVERIFIED;
use config::{Problem, Resource};
use system::settle::InUse;

use super::listeners::warn_of_shut;
use super::problems::log_problems;
use super::{Configuration, Next};
use crate::admin::ConfigInfo;
use crate::table::compile::Compiled;

// === impl Configuration ===

impl Configuration {
    /// Notes what is in use, and what is odd between its resources. Oddities are warnings, so that
    /// looking for them need not hold up the generation.
    pub(super) fn note(&mut self, loaded: Loaded, generation: u64) {
        let mut problems = loaded.problems;
        // What a control plane tells is a part of the mesh, in which much leads nowhere.
        if let (Some(mesh), None) = (&self.mesh, &self.plane) {
            problems.extend(self.loader.locate(analyze(mesh, &loaded.resources)));
        }
        let mut info = self
            .admin
            .config
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known: HashSet<&Problem> = info.problems.iter().collect();
        log_problems(
            problems
                .iter()
                .filter(|problem| !known.contains(problem) || problem.message == UNVERIFIED),
        );
        *info = ConfigInfo {
            files: loaded.files,
            resources: by_kind(&loaded.resources),
            generation,
            loaded_at: Some(SystemTime::now()),
            valid: true,
            last_error: None,
            problems,
            control: None,
        };
    }

    /// Publishes a generation, then opens and closes listeners.
    pub(super) async fn take_effect(&mut self, next: Next, started: Instant) {
        let Next {
            loaded,
            mesh,
            compiled,
            sockets,
            certificates,
            answered,
        } = next;
        let Compiled {
            table,
            destinations,
            names,
        } = compiled;
        self.resolver.want(names.into_iter());
        warn_of_shut(&table, &self.publisher.current().table);
        let snapshot = self.publisher.publish_answered(
            Arc::clone(&table),
            destinations,
            Arc::clone(&answered),
        );
        self.keeper.mind(&snapshot.destinations);
        self.keys.mind(&table);
        self.listeners.open(sockets, &table).await;
        self.listeners.close_gone(&table).await;
        let process = &self.metrics.process;
        process.config_valid.set(1);
        process
            .config_generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        process
            .config_last_reload_seconds
            .set(started.elapsed().as_secs_f64());
        tracing::info!(
            generation = snapshot.generation,
            elapsed = ?started.elapsed(),
            "configuration in use"
        );
        if let Some(dns) = &self.admin.dns {
            dns.publish(&mesh, self.compiler.viewer());
        }
        self.tell_answered(&answered);
        self.show_certificates(certificates.facts());
        self.mesh = Some(mesh);
        self.certificates = certificates;
        self.in_use = InUse::new(&loaded.resources, |file| self.loader.bytes(file));
        self.note(loaded, snapshot.generation);
    }
}

fn by_kind(resources: &[Arc<Resource>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for resource in resources {
        *counts.entry(resource.kind().to_owned()).or_default() += 1;
    }
    counts
}
