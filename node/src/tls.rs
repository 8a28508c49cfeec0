//! Certificates and keys, from the files that settings name.

use runtime::{Runtime, Shutdown};
use wire::{Authorities, Identity, MutualTls, PemFile};

use crate::{Error, Role, Settings};

/// TLS between processes, where it is set. Each certificate is looked at for the roles of this process that it will have to
/// prove.
pub(crate) fn between(
    application: &str,
    settings: &Settings,
    roles: &[Role],
    runtime: &Runtime,
) -> Result<Option<MutualTls>, Error> {
    let tls = &settings.tls;
    let files = [
        ("tls.certificate_path", &tls.certificate_path),
        ("tls.key_path", &tls.key_path),
        ("tls.ca_path", &tls.ca_path),
    ];
    let Some([certificate, key, ca]) = all_or_none(files)? else { return Ok(None) };
    let tls = MutualTls::read(application, certificate, key, ca)?;
    // It neither calls nor is called: databases and queue have their own settings.
    for role in roles.iter().filter(|role| **role != Role::EventHandler) {
        tls.proves(role.name())?;
    }
    tls.follow(runtime, Shutdown::new());
    Ok(Some(tls))
}

/// What the public listener proves itself with, where it is under TLS.
pub(crate) fn public(settings: &Settings) -> Result<Option<Identity>, Error> {
    let front = &settings.load_balancer;
    let files =
        [("load_balancer.certificate_path", &front.certificate_path), ("load_balancer.key_path", &front.key_path)];
    let Some([certificate, key]) = all_or_none(files)? else { return Ok(None) };
    Ok(Some(Identity::read(certificate, key)?))
}

/// By whom the two databases are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Databases {
    pub(crate) log: Option<Authorities>,
    pub(crate) rows: Option<Authorities>,
}

impl Databases {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Error> {
        let authorities = |setting, path: &String| match all_or_none([(setting, path)])? {
            Some([file]) => Ok::<_, Error>(Some(Authorities::read(file)?)),
            None => Ok(None),
        };
        Ok(Self {
            log: authorities(LOG, &settings.command_database.ca_path)?,
            rows: authorities(ROWS, &settings.query_database.ca_path)?,
        })
    }

    pub(crate) fn follow(&self, runtime: &Runtime) {
        for authorities in self.log.iter().chain(&self.rows) {
            authorities.follow(runtime, Shutdown::new());
        }
    }
}

pub(crate) const LOG: &str = "command_database.ca_path";
pub(crate) const ROWS: &str = "query_database.ca_path";

/// Reads the files of the Message Queue, which are read again with each connection, so that what is wrong with one is known at
/// the start.
pub(crate) fn check_queue(settings: &Settings) -> Result<(), Error> {
    let queue = &settings.message_queue;
    let identity =
        [("message_queue.certificate_path", &queue.certificate_path), ("message_queue.key_path", &queue.key_path)];
    if let Some([certificate, key]) = all_or_none(identity)? {
        Identity::read(certificate, key)?;
    }
    if let Some([ca]) = all_or_none([("message_queue.ca_path", &queue.ca_path)])? {
        Authorities::read(ca)?;
    }
    Ok(())
}

fn all_or_none<const COUNT: usize>(files: [(&'static str, &String); COUNT]) -> Result<Option<[PemFile; COUNT]>, Error> {
    if files.iter().all(|(_, path)| path.is_empty()) {
        return Ok(None);
    }
    if let Some((missing, _)) = files.iter().find(|(_, path)| path.is_empty()) {
        let together = files.map(|(setting, _)| setting).join(", ");
        return Err(Error::Settings(format!("{missing} is empty: {together} go together")));
    }
    Ok(Some(files.map(|(setting, path)| PemFile { setting, path: path.into() })))
}

#[cfg(test)]
mod tests {
    use cluster::{Authority, NatsServer, Postgres};
    use message_queue::Metrics;

    use super::*;
    use crate::{error::chain, roles};

    fn trusting(authority: &Authority) -> Settings {
        let mut settings = Settings::default();
        let ca = authority.certificate().display().to_string();
        settings.command_database.ca_path.clone_from(&ca);
        settings.query_database.ca_path.clone_from(&ca);
        settings.message_queue.ca_path = ca;
        settings
    }

    /// What is said of the PostgreSQL of the log and of that of the rows.
    async fn migrated([log, rows]: [String; 2], authority: &Authority) -> [Option<String>; 2] {
        let mut settings = trusting(authority);
        (settings.command_database.url, settings.query_database.url) = (log, rows);
        let databases = Databases::read(&settings).expect("files that an authority has made");
        let log = roles::command_database::migrate(&settings.command_database, databases.log.as_ref()).await;
        let rows = roles::query_database::migrate(&settings.query_database, databases.rows.as_ref()).await;
        [log, rows].map(|migrated| migrated.err().map(|error| chain(&error)))
    }

    fn assert_refused(said: &[Option<String>; 2], reason: &str) {
        for (said, setting) in said.iter().zip([LOG, ROWS]) {
            let said = said.as_deref().unwrap_or("it was let in");
            assert!(said.contains(setting) && said.contains(reason), "{said}");
        }
    }

    #[tokio::test]
    async fn a_database_proves_the_address_that_it_is_called_by_or_gets_nothing() {
        let (ours, other) = (Authority::new("ours").expect("one"), Authority::new("another").expect("one"));
        let issued = ours.issue(&["127.0.0.1"]).expect("issued");
        let server = || Postgres::new().tls(&issued).start().expect("a PostgreSQL");
        let servers = [server(), server()];
        let urls = |change: fn(String) -> String| servers.each_ref().map(|server| change(server.url("postgres")));
        assert_eq!(migrated(urls(|url| url), &ours).await, [None, None]);
        assert_refused(&migrated(urls(|url| url), &other).await, "UnknownIssuer");
        // The certificate is for an address, and not for this name of it.
        let named = urls(|url| url.replace("127.0.0.1", "localhost"));
        assert_refused(&migrated(named, &ours).await, "not valid for name");
        // An address does not talk TLS down.
        assert_refused(&migrated(urls(|url| url + "?sslmode=disable"), &other).await, "UnknownIssuer");
    }

    #[tokio::test]
    async fn a_database_without_tls_gets_nothing_where_tls_is_set() {
        let ours = Authority::new("ours").expect("an authority");
        let server = Postgres::new().start().expect("a PostgreSQL");
        let url = server.url("postgres");
        assert_refused(&migrated([url.clone(), url], &ours).await, "does not support TLS");
    }

    #[tokio::test]
    async fn nats_proves_its_address_and_is_shown_who_asks() {
        let (ours, other) = (Authority::new("ours").expect("one"), Authority::new("another").expect("one"));
        let (issued, client) = (ours.issue(&["127.0.0.1"]).expect("one"), ours.issue(&["client"]).expect("another"));
        let (certificate, key, ca) = (&issued.certificate, &issued.key, ours.certificate());
        let block = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}\n");
        let server = NatsServer::start_configured(&block).expect("a NATS");
        let connect = async |authority: &Authority, shown: Option<&cluster::Issued>| {
            let mut queue = trusting(authority).message_queue;
            queue.servers = server.url();
            queue.replicas = 1;
            if let Some(shown) = shown {
                queue.certificate_path = shown.certificate.display().to_string();
                queue.key_path = shown.key.display().to_string();
            }
            let connected =
                roles::message_queue::connect("tested", &queue, &Runtime::tokio(), &Metrics::default()).await;
            connected.err().map(|error| chain(&error))
        };
        assert_eq!(connect(&ours, Some(&client)).await, None);
        for (authority, shown, says) in [
            (&other, Some(&client), "see `message_queue.ca_path`"),
            (&ours, None, "`message_queue.certificate_path`"),
            (&ours, Some(&other.issue(&["client"]).expect("issued")), "`message_queue.certificate_path`"),
        ] {
            let said = connect(authority, shown).await.unwrap_or_else(|| "it was let in".to_owned());
            assert!(said.contains(says), "{said}");
        }
    }

    #[tokio::test]
    async fn nats_without_tls_gets_nothing_where_tls_is_set() {
        let ours = Authority::new("ours").expect("an authority");
        let server = NatsServer::start().expect("a NATS");
        let mut queue = trusting(&ours).message_queue;
        queue.servers = server.url();
        let connected = roles::message_queue::connect("tested", &queue, &Runtime::tokio(), &Metrics::default()).await;
        assert!(connected.is_err(), "it was let in");
    }
}
