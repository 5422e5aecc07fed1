//! Service accounts of a cluster, and how they prove who they are.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::{Cluster, named};

/// Validity of the tokens of accounts; longer than any test.
const TOKEN_SECONDS: i64 = 3_600;

// === impl Cluster ===

impl Cluster {
    /// Makes a service account if there is none.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn account(&self, namespace: &str, name: &str) {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await, namespace);
        let account = ServiceAccount {
            metadata: named(name),
            ..ServiceAccount::default()
        };
        match accounts.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("service account {namespace}/{name}: {error}"),
        }
    }

    /// A token of a service account, for `audiences`; none of them is for the API server.
    ///
    /// # Panics
    ///
    /// If the API server gives none.
    pub async fn token(&self, namespace: &str, account: &str, audiences: &[&str]) -> String {
        let audiences = audiences.iter().map(|&it| it.to_owned()).collect();
        self.token_of(namespace, account, audiences, None).await
    }

    /// A token of the service account of a pod, which is good for no other pod.
    ///
    /// # Panics
    ///
    /// If the API server gives none.
    pub async fn pod_token(&self, namespace: &str, pod: &Value, audience: &str) -> String {
        let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
        let account = text("/spec/serviceAccountName").expect("a stored pod has an account");
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: text("/metadata/name").map(str::to_owned),
            uid: text("/metadata/uid").map(str::to_owned),
        };
        let audiences = vec![audience.to_owned()];
        self.token_of(namespace, account, audiences, Some(bound))
            .await
    }

    async fn token_of(
        &self,
        namespace: &str,
        account: &str,
        audiences: Vec<String>,
        bound: Option<BoundObjectReference>,
    ) -> String {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences),
                bound_object_ref: bound,
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let parameters = PostParams::default();
        let answer = accounts.create_token_request(account, &parameters, &request);
        let answer = answer.await.expect("the account gets a token");
        let token = answer.status.and_then(|status| status.token);
        token.expect("an answer has a token")
    }

    /// A kubeconfig of a service account, in a file.
    ///
    /// # Panics
    ///
    /// If there can be none.
    pub async fn account_kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.token(namespace, account, &[]).await;
        let path = self
            .folder
            .path()
            .join(format!("{namespace}-{account}.yaml"));
        let text = self.kubeconfig(&token).text();
        fs::write(&path, text).expect("a temporary file can be written");
        path
    }
}
