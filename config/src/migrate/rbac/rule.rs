//! One rule of a role and its subjects to rules of today.

use serde_json::{Map, Value, json};

use super::written::{AccessRule, Subject};

/// The claim that held the groups of a user.
const GROUPS: &str = "request.auth.claims[groups]";
/// Stands for anybody, known or not.
const ALL_USERS: &str = "allUsers";
/// Stands for anybody who proved an identity.
const ALL_AUTHENTICATED: &str = "allAuthenticatedUsers";

/// Who may: what must hold of the source, and conditions beside it.
#[derive(Debug, Default)]
struct Who {
    source: Map<String, Value>,
    when: Vec<Value>,
}

/// The rules of today for one old rule and its subjects.
///
/// # Errors
///
/// What cannot be said today; without it the rule would let more pass.
pub(super) fn rules(rule: &AccessRule, subjects: &[Subject]) -> Result<Vec<Value>, String> {
    let mut conditions = Vec::new();
    for constraint in &rule.constraints {
        if !is_of_workload(&constraint.key) {
            conditions.push(condition(&constraint.key, "values", &constraint.values)?);
        }
    }
    let operation = operation(rule);
    let whos: Vec<Who> = subjects.iter().map(Who::of).collect::<Result<_, _>>()?;
    let (plain, conditional): (Vec<Who>, Vec<Who>) =
        whos.into_iter().partition(|who| who.when.is_empty());
    let mut rules = Vec::new();
    if !plain.is_empty() {
        let anybody = plain.iter().any(|who| who.source.is_empty());
        let sources = plain.into_iter().map(|who| who.source).collect();
        let from = if anybody { Vec::new() } else { sources };
        rules.push(one(from, &operation, conditions.clone()));
    }
    for who in conditional {
        let from = Vec::from_iter(Some(who.source).filter(|source| !source.is_empty()));
        let when = conditions.iter().cloned().chain(who.when).collect();
        rules.push(one(from, &operation, when));
    }
    Ok(rules)
}

/// Whether a constraint is about the workload that is asked, and not about the request.
pub(super) fn is_of_workload(key: &str) -> bool {
    key.starts_with("destination.labels[") || key == "destination.namespace"
}

fn one(from: Vec<Map<String, Value>>, operation: &Map<String, Value>, when: Vec<Value>) -> Value {
    let mut rule = Map::new();
    if !from.is_empty() {
        let from = from.into_iter().map(|source| json!({ "source": source }));
        rule.insert("from".to_owned(), from.collect());
    }
    if !operation.is_empty() {
        rule.insert("to".to_owned(), json!([{ "operation": operation }]));
    }
    if !when.is_empty() {
        rule.insert("when".to_owned(), when.into());
    }
    Value::Object(rule)
}

fn operation(rule: &AccessRule) -> Map<String, Value> {
    let texts = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>();
    let mut operation = Map::new();
    for (name, values) in [
        ("hosts", rule.hosts.clone()),
        ("methods", rule.methods.clone()),
        ("paths", rule.paths.clone()),
        ("ports", texts(&rule.ports)),
    ] {
        // `*` is any, and so is to leave it out.
        if !values.is_empty() && !values.iter().any(|value| value == "*") {
            operation.insert(name.to_owned(), json!(values));
        }
    }
    for (name, values) in [
        ("notHosts", rule.not_hosts.clone()),
        ("notMethods", rule.not_methods.clone()),
        ("notPaths", rule.not_paths.clone()),
        ("notPorts", texts(&rule.not_ports)),
    ] {
        if !values.is_empty() {
            operation.insert(name.to_owned(), json!(values));
        }
    }
    operation
}

fn condition(key: &str, list: &str, values: &[String]) -> Result<Value, String> {
    let is_known = matches!(
        key,
        "destination.ip"
            | "destination.port"
            | "source.ip"
            | "source.namespace"
            | "source.principal"
            | "connection.sni"
            | "request.auth.principal"
            | "request.auth.audiences"
            | "request.auth.presenter"
    ) || [
        "request.headers[",
        "request.auth.claims[",
        "experimental.envoy.filters.",
    ]
    .iter()
    .any(|prefix| key.starts_with(prefix));
    match is_known && !values.is_empty() {
        true => Ok(json!({ "key": key, list: values })),
        false => Err(format!("a condition on {key} cannot be said today")),
    }
}

// === impl Who ===

impl Who {
    fn of(subject: &Subject) -> Result<Self, String> {
        let mut who = Self::default();
        let mut names = subject.names.clone();
        names.extend(Some(subject.user.clone()).filter(|user| !user.is_empty()));
        who.users(names);
        who.list("notPrincipals", &subject.not_names);
        who.list("namespaces", &subject.namespaces);
        who.list("notNamespaces", &subject.not_namespaces);
        who.list("ipBlocks", &subject.ips);
        who.list("notIpBlocks", &subject.not_ips);
        let mut groups = subject.groups.clone();
        groups.extend(Some(subject.group.clone()).filter(|group| !group.is_empty()));
        if !groups.is_empty() {
            who.when.push(condition(GROUPS, "values", &groups)?);
        }
        if !subject.not_groups.is_empty() {
            let not = condition(GROUPS, "notValues", &subject.not_groups)?;
            who.when.push(not);
        }
        for (key, value) in &subject.properties {
            who.property(key, value)?;
        }
        Ok(who)
    }

    /// `*` was anybody, also without an identity, where today's `principals: ["*"]` is anybody with one.
    fn users(&mut self, names: Vec<String>) {
        if names.iter().any(|name| name == "*" || name == ALL_USERS) {
            return;
        }
        let known = |name: String| match name == ALL_AUTHENTICATED {
            true => "*".to_owned(),
            false => name,
        };
        let names: Vec<String> = names.into_iter().map(known).collect();
        self.list("principals", &names);
    }

    fn property(&mut self, key: &str, value: &str) -> Result<(), String> {
        let values = [value.to_owned()];
        let list = match key {
            "source.namespace" => "namespaces",
            "source.principal" | "source.user" => "principals",
            "source.ip" => "ipBlocks",
            "request.auth.principal" => "requestPrincipals",
            _ => {
                self.when.push(condition(key, "values", &values)?);
                return Ok(());
            }
        };
        // Beside a list of the same name, both must hold.
        match (self.source.contains_key(list), list) {
            (false, _) => self.list(list, &values),
            (true, "principals") => {
                let both = condition("source.principal", "values", &values)?;
                self.when.push(both);
            }
            (true, "namespaces") => {
                let both = condition("source.namespace", "values", &values)?;
                self.when.push(both);
            }
            (true, _) => {
                let both = condition("source.ip", "values", &values)?;
                self.when.push(both);
            }
        }
        Ok(())
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.source.insert(name.to_owned(), json!(values));
        }
    }
}
