//! Settings: defaults, then a file, then the environment, then flags. A key that nobody knows is an error.

pub(crate) mod keys;
mod tls;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use config::{Config, File, FileFormat, Source, Value, ValueKind};
use serde::{Deserialize, Serialize};

use self::tls::TlsSettings;
use crate::Error;

/// Everything that can be set, with its defaults. What belongs to a box stands under the box's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory of the embedded system's files.
    pub data: String,
    /// Bytes that the file system of `data` should have left: with fewer, an alert is raised.
    pub storage_free_bytes_min: u64,
    /// How long a process of several goes on after it has said that it will end, in seconds, so that others notice.
    pub drain_delay_seconds: u64,
    /// Whether a Command Service or an Event Handler migrates a database that is not of its version.
    pub migrate_at_start: bool,
    /// Whether others may reach the interface although nobody is asked who he is.
    pub insecure_no_authentication: bool,
    /// TLS between processes.
    pub tls: TlsSettings,
    /// The operator's listener.
    pub admin: AdminSettings,
    /// The public listener and what it accepts.
    pub load_balancer: LoadBalancerSettings,
    /// The gateways behind it.
    pub api_gateway: ApiGatewaySettings,
    /// Deciding and appending.
    pub command_service: CommandServiceSettings,
    /// The log.
    pub command_database: CommandDatabaseSettings,
    /// The queue.
    pub message_queue: MessageQueueSettings,
    /// Folding.
    pub event_handler: EventHandlerSettings,
    /// The rows.
    pub query_database: QueryDatabaseSettings,
    /// Answering.
    pub query_service: QueryServiceSettings,
}

/// See [`Settings::admin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSettings {
    /// Where status, metrics and health are served. Loopback only.
    #[serde(deserialize_with = "keys::address")]
    pub listen: SocketAddr,
}

/// See [`Settings::load_balancer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancerSettings {
    /// Where the interface is served. On loopback, or under TLS or behind proxies.
    #[serde(deserialize_with = "keys::address")]
    pub listen: SocketAddr,
    /// Its certificate, where it is under TLS: the path of a file in PEM.
    pub certificate_path: String,
    /// The key of that.
    pub key_path: String,
    /// Addresses and networks of proxies that end TLS before it, by commas. Nobody else is let in then.
    pub behind_tls_proxy: String,
    /// Most connections of the process.
    pub connections_max: usize,
    /// Most connections from one address.
    pub connections_per_address_max: usize,
    /// Most bytes in the body of a request.
    pub body_bytes_max: u64,
    /// Addresses of the API Gateways in other processes, `HOST:PORT`, by commas.
    pub api_gateways: String,
}

/// See [`Settings::api_gateway`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiGatewaySettings {
    /// How many gateways `dev` runs.
    pub instances: usize,
    /// Most requests under way in one gateway.
    pub requests_max: usize,
    /// Where the pages about errors are, if elsewhere than here.
    pub error_pages_url: Option<String>,
    /// Where it is reached by Load Balancers of other processes. On loopback, or under TLS.
    #[serde(deserialize_with = "keys::address")]
    pub listen: SocketAddr,
    /// Addresses of the Command Services in other processes, `HOST:PORT`, by commas.
    pub command_services: String,
    /// Addresses of the Query Services in other processes, `HOST:PORT`, by commas.
    pub query_services: String,
}

/// See [`Settings::command_service`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandServiceSettings {
    /// How many shards decide in parallel; 0 for one a core, four at most.
    pub shards: usize,
    /// Most bytes of hot aggregates in memory.
    pub cache_bytes_max: usize,
    /// Events after which a stream gets another snapshot.
    pub snapshot_events: u64,
    /// Most commands under way.
    pub commands_max: usize,
    /// Where it is reached by API Gateways of other processes. On loopback, or under TLS.
    #[serde(deserialize_with = "keys::address")]
    pub listen: SocketAddr,
}

/// See [`Settings::command_database`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandDatabaseSettings {
    /// How long idempotency keys are remembered, in hours in which the log was open. At least 24.
    pub idempotency_hours: u64,
    /// The PostgreSQL that has the log, where boxes are apart.
    pub url: String,
    /// The authorities by which it is believed: with this file it is called under TLS.
    pub ca_path: String,
}

/// See [`Settings::message_queue`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageQueueSettings {
    /// Most bytes of encoded messages in memory.
    pub bytes_max: usize,
    /// Most messages in memory.
    pub messages_max: usize,
    /// Addresses of NATS servers, `nats://HOST:PORT`, by commas, where boxes are apart.
    pub servers: String,
    /// The authorities by which they are believed: with this file they are called under TLS.
    pub ca_path: String,
    /// The certificate that they are shown, where they ask for one.
    pub certificate_path: String,
    /// The key of that.
    pub key_path: String,
    /// Copies of the stream.
    pub replicas: usize,
    /// What comes before a type's stored name in CloudEvents: a reversed domain name and a full stop.
    pub event_type_prefix: String,
}

/// See [`Settings::event_handler`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventHandlerSettings {
    /// Most events in one commit of one projection.
    pub batch_events_max: usize,
    /// Most bytes of decoded rows that a projection keeps in memory.
    pub cached_bytes_max: usize,
}

/// See [`Settings::query_database`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryDatabaseSettings {
    /// The PostgreSQL that has the rows, where boxes are apart.
    pub url: String,
    /// Its replicas, by commas.
    pub read_urls: String,
    /// The authorities by which they are believed: with this file they are called under TLS.
    pub ca_path: String,
}

/// See [`Settings::query_service`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryServiceSettings {
    /// Most rows in a page.
    pub page_size_max: usize,
    /// Where it is reached by API Gateways of other processes. On loopback, or under TLS.
    #[serde(deserialize_with = "keys::address")]
    pub listen: SocketAddr,
    /// What seals page tokens, the same for all instances: 64 hexadecimal digits.
    pub page_token_key: String,
}

impl LoadBalancerSettings {
    /// Of the interface's addresses.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.certificate_path.is_empty() { "http" } else { "https" }
    }
}

impl QueryServiceSettings {
    /// The key's bytes.
    pub(crate) fn page_token_key(&self) -> Result<[u8; 32], Error> {
        let digits = self.page_token_key.as_bytes();
        let mut key = [0; 32];
        let wrong = || {
            let wanted =
                "query_service.page_token_key has to be 64 hexadecimal digits, the same for every Query Service";
            Error::Settings(format!("{wanted}: `openssl rand -hex 32` makes some"))
        };
        if digits.len() != 2 * key.len() {
            return Err(wrong());
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(key)
    }
}

macro_rules! defaults {
    ($($name:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        $(impl Default for $name {
            fn default() -> Self {
                Self { $($field: $value),* }
            }
        })*
    };
}

defaults! {
    AdminSettings { listen: SocketAddr::from(([127, 0, 0, 1], 8081)) }
    LoadBalancerSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        certificate_path: String::new(),
        key_path: String::new(),
        behind_tls_proxy: String::new(),
        connections_max: 10_000,
        connections_per_address_max: 1_000,
        body_bytes_max: 1024 * 1024,
        api_gateways: String::new(),
    }
    ApiGatewaySettings {
        instances: 2,
        requests_max: 10_000,
        error_pages_url: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
        command_services: String::new(),
        query_services: String::new(),
    }
    CommandServiceSettings {
        shards: 0,
        cache_bytes_max: 64 * 1024 * 1024,
        snapshot_events: 256,
        commands_max: 10_000,
        listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
    }
    CommandDatabaseSettings { idempotency_hours: 24, url: String::new(), ca_path: String::new() }
    MessageQueueSettings {
        bytes_max: 64 * 1024 * 1024,
        messages_max: 65_536,
        servers: String::new(),
        ca_path: String::new(),
        certificate_path: String::new(),
        key_path: String::new(),
        replicas: 3,
        event_type_prefix: "com.example.".to_owned(),
    }
    EventHandlerSettings { batch_events_max: 4096, cached_bytes_max: 16 * 1024 * 1024 }
    QueryDatabaseSettings { url: String::new(), read_urls: String::new(), ca_path: String::new() }
    QueryServiceSettings {
        page_size_max: 500,
        listen: SocketAddr::from(([127, 0, 0, 1], 8084)),
        page_token_key: String::new(),
    }
    Settings {
        data: String::new(),
        storage_free_bytes_min: 1024 * 1024 * 1024,
        drain_delay_seconds: 1,
        migrate_at_start: true,
        insecure_no_authentication: false,
        tls: TlsSettings::default(),
        admin: AdminSettings::default(),
        load_balancer: LoadBalancerSettings::default(),
        api_gateway: ApiGatewaySettings::default(),
        command_service: CommandServiceSettings::default(),
        command_database: CommandDatabaseSettings::default(),
        message_queue: MessageQueueSettings::default(),
        event_handler: EventHandlerSettings::default(),
        query_database: QueryDatabaseSettings::default(),
        query_service: QueryServiceSettings::default(),
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File,
    /// A variable of the environment.
    Environment,
    /// A flag of the command line.
    Flag,
}

/// Every value there is, as `config show` prints it: by its path, with where it comes from.
pub(crate) type Shown = BTreeMap<String, (String, Origin)>;

/// Values by their path, such as `load_balancer.listen`.
pub(crate) type Values = BTreeMap<String, String>;

const PREFIX: &str = "DIPTYCH__";
const FROM_FILE: &str = "_FILE";

impl Settings {
    /// Merges the layers. `environment` is the process's, or a test's.
    ///
    /// # Errors
    /// [`Error::Settings`] names the key that is unknown or has a value of another kind.
    pub(crate) fn load(
        default_data: &str,
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &Values,
    ) -> Result<(Self, Shown), Error> {
        let defaults = Self { data: default_data.to_owned(), ..Self::default() };
        let environment = from_environment(environment)?;
        let from_file = match file {
            Some(path) => Some(read(path)?),
            None => None,
        };
        let mut builder = Config::builder()
            .add_source(Config::try_from(&defaults).map_err(|error| Error::Settings(error.to_string()))?);
        if let Some(text) = &from_file {
            builder = builder.add_source(File::from_str(text, FileFormat::Toml));
        }
        for (key, value) in environment.iter().chain(flags) {
            builder = builder.set_override(key, value.as_str()).map_err(|error| Error::Settings(error.to_string()))?;
        }
        let merged = builder.build().map_err(|error| Error::Settings(error.to_string()))?;
        let in_file = match &from_file {
            Some(text) => {
                let source = File::from_str(text, FileFormat::Toml);
                let map = source.collect().map_err(|error| Error::Settings(error.to_string()))?;
                flatten("", &Value::new(None, ValueKind::Table(map)))
            }
            None => Values::new(),
        };
        let origin = |key: &str| {
            if flags.contains_key(key) {
                Origin::Flag
            } else if environment.contains_key(key) {
                Origin::Environment
            } else if in_file.contains_key(key) {
                Origin::File
            } else {
                Origin::Default
            }
        };
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        let spelling = |key: &str| keys::spelling(key, &origin(key), &file);
        let settings =
            merged.clone().try_deserialize().map_err(|error| Error::Settings(explained(&error, spelling)))?;
        let shown: Shown = flatten("", &merged.cache)
            .into_iter()
            .map(|(key, value)| {
                let origin = origin(&key);
                (key, (value, origin))
            })
            .collect();
        for (key, (value, _)) in &shown {
            let least = keys::find(key).map_or(0, |key| key.least);
            if value.parse::<u64>().is_ok_and(|value| value < least) {
                return Err(Error::Settings(format!(
                    "{} is {value}, and {least} is the least that it can be",
                    spelling(key)
                )));
            }
        }
        Ok((settings, shown))
    }

    /// The settings by which `dev` of this application runs, from the environment and the file that `--config` names, if the
    /// arguments have such a flag: for a verb of the application's own that has to find the running system.
    ///
    /// # Errors
    /// [`Error::Settings`] names what is wrong.
    pub fn of(application: &str, arguments: &clap::ArgMatches) -> Result<Self, Error> {
        crate::cli::settings(application, arguments, &[]).map(|(settings, _)| settings)
    }
}

/// `spelling` is how a key is spelt where its value was set.
fn explained(error: &config::ConfigError, spelling: impl Fn(&str) -> String) -> String {
    use config::ConfigError::{At, Type};
    let what = match error {
        At { error, key: Some(key), .. } => format!("{}: {error}", spelling(key)),
        Type { unexpected, expected, key: Some(key), .. } => {
            format!("{}: expected {expected}, found {unexpected}", spelling(key))
        }
        other => other.to_string(),
    };
    format!("{what} (`config show` prints every key there is)")
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Settings(format!("cannot read {}: {error}", path.display())))
}

/// `DIPTYCH__LOAD_BALANCER__LISTEN` is `load_balancer.listen`; with `_FILE` at the end, the value is read from that file.
fn from_environment(environment: impl Iterator<Item = (String, String)>) -> Result<Values, Error> {
    let mut values = Values::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let (rest, value) = match rest.strip_suffix(FROM_FILE) {
            Some(rest) => (rest, read(Path::new(&value))?.trim_end().to_owned()),
            None => (rest, value),
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        if values.insert(key.clone(), value).is_some() {
            return Err(Error::Settings(format!("{key} is set twice in the environment, directly and by a file")));
        }
    }
    Ok(values)
}

fn flatten(prefix: &str, value: &Value) -> Values {
    match &value.kind {
        // Into a map that is ordered, whatever order these come in.
        ValueKind::Table(table) => table
            .clone()
            .into_iter()
            .flat_map(|(key, value)| {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, &value)
            })
            .collect(),
        ValueKind::Nil => Values::from([(prefix.to_owned(), String::new())]),
        kind => Values::from([(prefix.to_owned(), kind.to_string())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], file: Option<&str>, flags: &[(&str, &str)]) -> Result<Settings, Error> {
        let owned =
            |pairs: &[(&str, &str)]| -> Values { pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect() };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("diptych.toml");
        if let Some(text) = file {
            fs::write(&path, text).expect("written");
        }
        let file = file.map(|_| path.as_path());
        Settings::load("here", file, owned(environment).into_iter(), &owned(flags)).map(|(settings, _)| settings)
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "[api_gateway]\ninstances = 3\n[query_service]\npage_size_max = 7\n";
        let environment = [("DIPTYCH__API_GATEWAY__INSTANCES", "4"), ("HOME", "/"), ("DIPTYCH__DATA", "there")];
        let settings = load(&environment, Some(file), &[("data", "elsewhere")]).expect("loaded");
        assert_eq!(settings.api_gateway.instances, 4);
        assert_eq!(settings.query_service.page_size_max, 7);
        assert_eq!(settings.data, "elsewhere");
    }

    #[test]
    fn unknown_keys_and_wrong_kinds_are_errors() {
        for (environment, file) in [
            (vec![("DIPTYCH__API_GATEWAY__INSTANCE", "4")], None),
            (vec![("DIPTYCH__TYPO", "4")], None),
            (vec![("DIPTYCH__API_GATEWAY__INSTANCES", "many")], None),
            (vec![], Some("listen = \"127.0.0.1:1\"")),
            (vec![], Some("[load_balancer]\nlisten = \"here\"")),
        ] {
            let refused = load(&environment, file, &[]).expect_err("refused");
            assert!(matches!(refused, Error::Settings(_)), "{refused}");
        }
    }

    #[test]
    fn a_value_that_will_not_do_is_named_as_it_was_set() {
        for (environment, file, flags, says) in [
            (vec![("DIPTYCH__API_GATEWAY__INSTANCES", "0")], None, vec![], "DIPTYCH__API_GATEWAY__INSTANCES is 0"),
            (vec![("DIPTYCH__API_GATEWAY__INSTANCES", "two")], None, vec![], "DIPTYCH__API_GATEWAY__INSTANCES: "),
            (
                vec![],
                Some("[command_database]\nidempotency_hours = 23"),
                vec![],
                "diptych.toml is 23, and 24 is the least",
            ),
            (
                vec![],
                None,
                vec![("load_balancer.listen", "here:80")],
                "--listen: \"here:80\" is no address: write IP:PORT",
            ),
            (vec![], None, vec![("admin.listen", "::1")], "--admin: "),
        ] {
            let refused = load(&environment, file, &flags).expect_err("refused").to_string();
            assert!(refused.contains(says), "{says}: {refused}");
        }
    }

    #[test]
    fn localhost_is_the_one_name_that_is_taken_for_an_address() {
        let settings = load(&[], None, &[("load_balancer.listen", "localhost:9080")]).expect("loaded");
        assert_eq!(settings.load_balancer.listen, SocketAddr::from(([127, 0, 0, 1], 9080)));
    }

    #[test]
    fn every_key_has_its_meaning() {
        let (_, shown) = Settings::load("here", None, std::iter::empty(), &Values::new()).expect("loaded");
        let meant: Vec<_> = keys::KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(shown.into_keys().collect::<Vec<_>>(), meant);
    }
}
