//! A running Bookinfo with what the steps do to it: play a scenario, ask for reviews.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{Request, Response};
use http_body_util::Full;

use crate::child::Stop;
use crate::launch::{Bookinfo, Programs};
use crate::layout::{Layout, replace};
use crate::manifest::{MARK_HOST, mark, mark_service};
use crate::meshproxy::{Meshproxy, Verdict};
use crate::port::Reservation;
use crate::scenario::Scenario;
use crate::service::neighbour::{END_USER, Http};
use crate::workload::{REVIEWS, SERVICE_PORT};

use super::seen::{self, Seen};

/// How long one request may take; faults delay by two seconds.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a whole scenario may take until every sidecar has it.
const LIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two questions of the same kind.
pub(crate) const ASK_PAUSE: Duration = Duration::from_millis(5);

/// The running application and the way to it.
pub(crate) struct Stage {
    /// The application.
    pub(crate) bookinfo: Bookinfo,
    /// Client of all questions.
    pub(crate) http: Http,
    meshproxy: Meshproxy,
    /// Number of the scenario in play, which the proxies answer when they have it.
    mark: u64,
    opened_in: Duration,
    /// Holds the port that no service has; nobody may take it.
    _mark_port: Reservation,
}

impl Stage {
    /// Starts the application with the scenario that shows no stars.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(crate) async fn open(
        programs: &Programs,
        page: Reservation,
        layout: Layout,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mark_port = Reservation::any().context("reserve a port")?;
        let marks = layout.config().join("mark.yaml");
        replace(&marks, &mark_service(mark_port.addr()))?;
        let routes = Scenario::AllV1.yaml().to_owned() + &mark(0);
        replace(&layout.routes(), &routes)?;
        let http = Http::new();
        let bookinfo = Bookinfo::start(programs, page, layout, &http).await?;
        Ok(Self {
            bookinfo,
            http,
            meshproxy: programs.meshproxy.clone(),
            mark: 0,
            opened_in: started.elapsed(),
            _mark_port: mark_port,
        })
    }

    /// What to report of the start.
    pub(crate) fn opened(&self) -> anyhow::Result<String> {
        let layout = self.bookinfo.layout().root().display();
        Ok(format!(
            "after {} ms, in {layout}",
            self.opened_in.as_millis()
        ))
    }

    /// Puts `yaml` in the place of `routes.yaml` and waits until every sidecar has it.
    ///
    /// # Errors
    ///
    /// When a sidecar does not have it in five seconds.
    pub(crate) async fn play(&mut self, yaml: &str) -> anyhow::Result<()> {
        self.mark += 1;
        let text = self.marked(yaml);
        replace(&self.bookinfo.layout().routes(), &text)?;
        let deadline = Instant::now() + LIVE_TIMEOUT;
        for part in self.bookinfo.parts() {
            while self.mark_at(part.place.egress).await? != self.mark.to_string() {
                ensure!(
                    Instant::now() < deadline,
                    "{} does not have the new routes.yaml after {} s",
                    part.place.workload.name,
                    LIVE_TIMEOUT.as_secs()
                );
                tokio::time::sleep(ASK_PAUSE).await;
            }
        }
        Ok(())
    }

    /// `yaml` with the mark of the scenario in play.
    pub(crate) fn marked(&self, yaml: &str) -> String {
        yaml.to_owned() + &mark(self.mark)
    }

    /// What `meshproxy check` says of the whole configuration in play.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub(crate) async fn verdict(&self) -> anyhow::Result<Verdict> {
        let config = self.bookinfo.layout().config();
        self.meshproxy.check(&[&config]).await
    }

    /// Sends a request to the page's address.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub(crate) async fn browse(
        &self,
        mut req: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<Bytes>> {
        let page = self.bookinfo.page();
        req.headers_mut().insert(HOST, page.to_string().parse()?);
        self.http.send(page, req, ASK_TIMEOUT).await
    }

    /// The reviews as the page's API gives them to the signed-in `user`.
    ///
    /// # Errors
    ///
    /// When there is no good answer.
    pub(crate) async fn page_reviews(&self, user: Option<&str>) -> anyhow::Result<Seen> {
        let mut req = Request::get("/api/v1/products/0/reviews").body(Full::default())?;
        if let Some(user) = user {
            req.headers_mut()
                .insert(COOKIE, format!("user={user}").parse()?);
        }
        seen::read(&self.browse(req).await?)
    }

    /// The reviews as productpage's own sidecar gives them for `user`.
    ///
    /// # Errors
    ///
    /// When there is no good answer.
    pub(crate) async fn reviews(&self, user: Option<&str>) -> anyhow::Result<Seen> {
        let [page, ..] = self.bookinfo.parts() else {
            bail!("there is no productpage");
        };
        let mut req = Request::get("/reviews/0").body(Full::default())?;
        let authority = format!("{REVIEWS}:{SERVICE_PORT}");
        req.headers_mut().insert(HOST, authority.parse()?);
        if let Some(user) = user {
            req.headers_mut().insert(END_USER, user.parse()?);
        }
        seen::read(&self.http.send(page.place.egress, req, ASK_TIMEOUT).await?)
    }

    /// Stops everything; says how each proxy ended.
    pub(crate) async fn close(self) -> Vec<(String, Stop)> {
        self.bookinfo.stop().await
    }

    async fn mark_at(&self, egress: std::net::SocketAddr) -> anyhow::Result<String> {
        let mut req = Request::get("/").body(Full::default())?;
        let authority = format!("{MARK_HOST}:{SERVICE_PORT}");
        req.headers_mut().insert(HOST, authority.parse()?);
        let rsp = self.http.send(egress, req, ASK_TIMEOUT).await?;
        Ok(String::from_utf8_lossy(rsp.body()).into_owned())
    }
}
