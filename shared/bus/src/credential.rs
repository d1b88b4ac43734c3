//! Who is who: one credential a role, made at the first start, and the server's
//! `authorization` block for all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;
use crate::permission::Permissions;
use crate::topology::Topology;

/// A holder of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Creates and grows streams; publishes nothing.
    Provisioner,
    /// The door: writes INTAKE, EVENTS and EVIDENCE.
    Ingest,
    /// Reads INTAKE, writes EVENTS.
    Correlator,
    /// Reads EVENTS, writes ESCALATIONS.
    RuleEngine,
    /// Reads ESCALATIONS, writes DELIVERIES.
    Notifier,
    /// Reads everything, writes nothing.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Provisioner,
        Self::Ingest,
        Self::Correlator,
        Self::RuleEngine,
        Self::Notifier,
        Self::Operator,
    ];

    /// Its name: of its file, its stage in dead letters, its service in audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioner => "provisioner",
            Self::Ingest => "ingest",
            Self::Correlator => "correlator",
            Self::RuleEngine => "rule-engine",
            Self::Notifier => "notifier",
            Self::Operator => "operator",
        }
    }

    /// Answers to this role arrive under this subject; no other role may listen there.
    #[must_use]
    pub fn inbox_prefix(self) -> String {
        format!("_INBOX_{}", self.as_str())
    }
}

/// How a role shows who it is.
#[derive(Clone)]
pub struct Credential {
    role: Role,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    /// A server without authorization, or credentials in the URL.
    None,
    /// An nkey's seed.
    Nkey(String),
    /// User and password.
    Password { user: String, password: String },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// For a server that asks for nothing, or a URL that carries user and password.
    #[must_use]
    pub const fn none(role: Role) -> Self {
        Self {
            role,
            secret: Secret::None,
        }
    }

    /// A user and a password.
    #[must_use]
    pub const fn password(role: Role, user: String, password: String) -> Self {
        Self {
            role,
            secret: Secret::Password { user, password },
        }
    }

    /// The role's nkey seed in `dir`, as [`Credentials::of_dir`] writes it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Credential`].
    pub fn from_dir(dir: &Path, role: Role) -> Result<Self, Error> {
        read_seed(&seed_path(dir, role)).map(|seed| Self {
            role,
            secret: Secret::Nkey(seed),
        })
    }

    /// Whose it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn apply(&self, options: async_nats::ConnectOptions) -> async_nats::ConnectOptions {
        let options = options.custom_inbox_prefix(self.role.inbox_prefix());
        match &self.secret {
            Secret::None => options,
            Secret::Nkey(seed) => options.nkey(seed.clone()),
            Secret::Password { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
        }
    }
}

/// The credentials of every role.
#[derive(Debug, Clone)]
pub struct Credentials {
    by_role: BTreeMap<Role, Credential>,
}

impl Credentials {
    /// Those of `dir`; what is missing is made, readable by the owner alone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Credential`].
    pub fn of_dir(dir: &Path) -> Result<Self, Error> {
        let io = |doing, source| Error::Io {
            doing,
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(|e| io("create", e))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| io("protect", e))?;
        let mut by_role = BTreeMap::new();
        for role in Role::ALL {
            let path = seed_path(dir, role);
            if !path.exists() {
                make_seed(&path)?;
            }
            by_role.insert(role, Credential::from_dir(dir, role)?);
        }
        Ok(Self { by_role })
    }

    /// That of `role`.
    #[must_use]
    pub fn of(&self, role: Role) -> Credential {
        self.by_role
            .get(&role)
            .cloned()
            .unwrap_or_else(|| Credential::none(role))
    }

    /// The `authorization` block of a server's configuration: every role with its key and its
    /// permissions for the streams of `topology`.
    #[must_use]
    pub fn authorization(&self, topology: &Topology) -> String {
        let mut text = String::from("authorization {\n  users: [\n");
        for (role, credential) in &self.by_role {
            let Secret::Nkey(seed) = &credential.secret else {
                continue;
            };
            let Ok(pair) = nkeys::KeyPair::from_seed(seed) else {
                continue;
            };
            let permissions = Permissions::of(*role, topology);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "    # {}\n    {{ nkey: {}, permissions: {{\n      publish: {{ allow: {} }}\n      subscribe: {{ allow: {} }}\n    }} }}",
                role.as_str(),
                pair.public_key(),
                list(&permissions.publish),
                list(&permissions.subscribe),
            );
        }
        text.push_str("  ]\n}\n");
        text
    }
}

fn list(subjects: &[String]) -> String {
    let quoted: Vec<String> = subjects.iter().map(|s| format!("\"{s}\"")).collect();
    format!("[\n        {}\n      ]", quoted.join(",\n        "))
}

fn seed_path(dir: &Path, role: Role) -> std::path::PathBuf {
    dir.join(format!("{}.nk", role.as_str()))
}

fn make_seed(path: &Path) -> Result<(), Error> {
    use std::io::Write as _;
    let io = |source| Error::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let seed = nkeys::KeyPair::new_user()
        .seed()
        .map_err(|e| io(std::io::Error::other(e)))?;
    // Written aside and renamed: a crash leaves a whole seed or none.
    let fresh = path.with_extension("nk.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(io)?;
    file.write_all(seed.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(io)
}

fn read_seed(path: &Path) -> Result<String, Error> {
    let refused = |reason: String| Error::Credential {
        path: path.to_owned(),
        reason,
    };
    let io = |source| Error::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(refused(format!(
            "others may read it (mode {:o}), wanted 600",
            mode & 0o777
        )));
    }
    let seed = std::fs::read_to_string(path).map_err(io)?.trim().to_owned();
    nkeys::KeyPair::from_seed(&seed).map_err(|e| refused(e.to_string()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let first = Credentials::of_dir(dir.path()).unwrap();
        let again = Credentials::of_dir(dir.path()).unwrap();
        let topology = Topology::new(1).unwrap();
        assert_eq!(
            first.authorization(&topology),
            again.authorization(&topology)
        );
        let path = seed_path(dir.path(), Role::Ingest);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Credential::from_dir(dir.path(), Role::Ingest).unwrap_err();
        assert!(refused.to_string().contains("others may read"), "{refused}");
    }
}
