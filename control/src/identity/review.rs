//! Tokens of Kubernetes: the API server says whose they are.
//!
//! Its answers are kept for a short time, so that a proxy that reconnects, or many that start at once,
//! do not make it slow. A token is never kept: only a hash of it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::token::Claims;
use super::{Account, Refusal, account_of};

/// How long it counts that a token is believed. One that is taken back is believed for as long.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// How long it counts that one is not: a service account may be a moment older than what the API
/// server knows.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Answers that are kept.
const ANSWERS_MAX: usize = 16_384;
/// Reviews at once; more wait.
const REVIEWS_MAX: usize = 64;
/// Limit of a review with the wait for a place.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// What the name of the pod is called that a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

type Hash = [u8; SHA256_OUTPUT_LEN];

/// Asks the API server about tokens.
pub struct Reviewer {
    reviews: Api<TokenReview>,
    audience: String,
    places: Semaphore,
    /// Held only while one is looked up.
    answers: Mutex<FxHashMap<Hash, Answer>>,
}

#[derive(Debug, Clone)]
struct Answer {
    account: Result<Account, Refusal>,
    until: Instant,
}

// === impl Reviewer ===

impl Reviewer {
    /// Asks by `client` about tokens for `audience`.
    pub fn new(client: kube::Client, audience: &str) -> Self {
        Self {
            reviews: Api::all(client),
            audience: audience.to_owned(),
            places: Semaphore::new(REVIEWS_MAX),
            answers: Mutex::default(),
        }
    }

    /// Whose token it is. Its claims were found to be for us and to last.
    pub(super) async fn review(
        &self,
        token: &str,
        claims: &Claims,
        now: Instant,
    ) -> Result<Account, Refusal> {
        // The hash finds nothing that the claims, which are part of the token, do not bear out.
        let hash = hash(token);
        if let Some(known) = self.known(&hash, now) {
            return known;
        }
        let asked = timeout(REVIEW_TIMEOUT, self.ask(token)).await;
        let status = match asked {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot review a token");
                return Err(Refusal::NoReview);
            }
            Err(_) => {
                tracing::warn!("the API server does not review tokens in time");
                return Err(Refusal::NoReview);
            }
        };
        let account = account(&status, &self.audience, &claims.sub);
        let lasts = match account {
            Ok(_) => BELIEVED_FOR,
            Err(_) => REFUSED_FOR,
        };
        self.keep(hash, account.clone(), now, now + lasts);
        account
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, kube::Error> {
        // It is never closed.
        let _place = self.places.acquire().await;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![self.audience.clone()]),
            },
            ..TokenReview::default()
        };
        let answer = self.reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.unwrap_or_default())
    }

    fn known(&self, hash: &Hash, now: Instant) -> Option<Result<Account, Refusal>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(hash).filter(|answer| now < answer.until)?;
        Some(answer.account.clone())
    }

    fn keep(&self, hash: Hash, account: Result<Account, Refusal>, now: Instant, until: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, answer| now < answer.until);
        }
        // With so many in a minute the rest are asked about each time.
        if answers.len() < ANSWERS_MAX {
            answers.insert(hash, Answer { account, until });
        }
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// What an answer says. One that does not name the audience is of an API server that looks at none,
/// and believes tokens that are for others.
fn account(status: &TokenReviewStatus, audience: &str, claimed: &str) -> Result<Account, Refusal> {
    if status.authenticated != Some(true) {
        return Err(Refusal::TokenNotBelieved);
    }
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|it| it == audience) {
        return Err(Refusal::TokenAudience);
    }
    let user = status.user.as_ref().ok_or(Refusal::TokenSubject)?;
    let username = user.username.as_deref().unwrap_or_default();
    if username != claimed {
        return Err(Refusal::TokenSubject);
    }
    let extra = user.extra.as_ref().and_then(|extra| extra.get(POD_NAME));
    let pod = extra.and_then(|values| values.first());
    account_of(username, pod.map(|pod| Arc::from(pod.as_str())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    const SUBJECT: &str = "system:serviceaccount:shop:web";

    fn believed(username: &str, audiences: &[&str]) -> TokenReviewStatus {
        let pod = (POD_NAME.to_owned(), vec!["web-1".to_owned()]);
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|it| (*it).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(username.to_owned()),
                extra: Some(BTreeMap::from([pod])),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn the_answer_names_account_and_pod() {
        let account = account(&believed(SUBJECT, &["istio-ca"]), "istio-ca", SUBJECT);

        let expected = Account {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            pod: Some("web-1".into()),
        };
        assert_eq!(account, Ok(expected));
    }

    #[test]
    fn only_a_service_account_that_was_believed_for_us_is_known() {
        let refused = TokenReviewStatus {
            authenticated: Some(false),
            ..believed(SUBJECT, &["istio-ca"])
        };
        for (status, refusal) in [
            (refused, Refusal::TokenNotBelieved),
            (TokenReviewStatus::default(), Refusal::TokenNotBelieved),
            (believed(SUBJECT, &[]), Refusal::TokenAudience),
            (believed(SUBJECT, &["other"]), Refusal::TokenAudience),
            (believed("admin", &["istio-ca"]), Refusal::TokenSubject),
        ] {
            assert_eq!(account(&status, "istio-ca", SUBJECT), Err(refusal));
        }
        let user = account(&believed("admin", &["istio-ca"]), "istio-ca", "admin");
        assert_eq!(user, Err(Refusal::TokenSubject));
    }
}
