//! Secrets by `credentialName`, and the keys in them (routing reference §1.7).

use std::sync::Arc;

use portcullis_api::Secret;

use crate::diagnostic::Code;
use crate::objects::Objects;

/// Suffix of the Secret that holds only authorities.
const CA_SUFFIX: &str = "-cacert";
/// Types that Istio does not look into.
const IGNORED_TYPES: &[&str] = &["helm.sh/release.v1", "kubernetes.io/service-account-token"];

/// Why a credential cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
}

/// Looks Secrets up in the namespace of the gateway's pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secrets<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) namespace: &'a str,
}

/// A chain with its key, as text.
#[derive(Clone)]
pub(crate) struct Pair<'a> {
    /// `namespace/name`.
    pub(crate) source: Arc<str>,
    pub(crate) certificates: &'a [u8],
    pub(crate) key: &'a [u8],
}

/// Authorities with their revocation list, as text.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityText<'a> {
    pub(crate) source: Arc<str>,
    pub(crate) certificates: &'a [u8],
    pub(crate) revoked: Option<&'a [u8]>,
}

impl<'a> Secrets<'a> {
    /// The certificate and key of a `credentialName`.
    pub(crate) fn pair(&self, reference: &str) -> Result<Pair<'a>, Problem> {
        let name = self.local_name(reference)?;
        let secret = self.find(name).ok_or_else(|| self.missing(name))?;
        let source = self.source(name);
        let of = |certificates: &str, key: &str| {
            Some(Pair {
                source: Arc::clone(&source),
                certificates: value(secret, certificates)?,
                key: value(secret, key)?,
            })
        };
        of("cert", "key").or_else(|| of("tls.crt", "tls.key")).ok_or_else(|| Problem {
            code: Code::InvalidGatewayCredential,
            message: format!("the Secret {source} has neither tls.crt and tls.key nor cert and key"),
            remedy: "put the certificate chain and its private key into tls.crt and tls.key",
        })
    }

    /// The authorities that belong to a `credentialName`: those of its `-cacert` Secret if there is one, whatever
    /// is in it, else its own.
    pub(crate) fn authorities(&self, reference: &str) -> Result<AuthorityText<'a>, Problem> {
        let name = self.local_name(reference)?;
        let separate = format!("{}{CA_SUFFIX}", name.strip_suffix(CA_SUFFIX).unwrap_or(name));
        match self.find(&separate) {
            Some(secret) => self.authorities_in(&separate, secret),
            None => {
                let secret = self.find(name).ok_or_else(|| self.missing(name))?;
                self.authorities_in(name, secret)
            }
        }
    }

    /// The authorities of a `caCertCredentialName`: a Secret whose name ends in `-cacert`, or a ConfigMap.
    pub(crate) fn named_authorities(&self, reference: &str) -> Result<AuthorityText<'a>, Problem> {
        if let Some(path) = reference.strip_prefix("configmap://") {
            return self.config_map(path);
        }
        if reference.ends_with(CA_SUFFIX) {
            let name = self.local_name(reference)?;
            let secret = self.find(name).ok_or_else(|| self.missing(name))?;
            return self.authorities_in(name, secret);
        }
        Err(Problem {
            code: Code::InvalidGatewayCredential,
            message: format!(
                "{reference} does not end in {CA_SUFFIX} and is read as a key pair, not as authorities"
            ),
            remedy: "name a Secret that ends in -cacert, or configmap://namespace/name",
        })
    }

    fn config_map(&self, path: &str) -> Result<AuthorityText<'a>, Problem> {
        let (namespace, name) = path.split_once('/').unwrap_or((self.namespace, path));
        if namespace != self.namespace {
            return Err(self.elsewhere(path));
        }
        let key = (namespace.to_owned(), name.to_owned());
        let map = self.objects.config_maps.get(&key).ok_or_else(|| Problem {
            code: Code::ReferencedResourceNotFound,
            message: format!("there is no ConfigMap {path}"),
            remedy: "create it, with the authorities in ca.crt",
        })?;
        let text = ["ca.crt", "cacert"].iter().find_map(|key| map.spec.data.get(*key));
        let text = text.filter(|text| !text.is_empty()).ok_or_else(|| Problem {
            code: Code::InvalidGatewayCredential,
            message: format!("the ConfigMap {path} has neither ca.crt nor cacert"),
            remedy: "put the authorities into ca.crt",
        })?;
        let source = format!("configmap {namespace}/{name}").into();
        Ok(AuthorityText { source, certificates: text.as_bytes(), revoked: None })
    }

    fn authorities_in(&self, name: &str, secret: &'a Secret) -> Result<AuthorityText<'a>, Problem> {
        let source = self.source(name);
        let of = |certificates: &str, revoked: &str| {
            let certificates = value(secret, certificates)?;
            Some(AuthorityText { source: Arc::clone(&source), certificates, revoked: value(secret, revoked) })
        };
        of("cacert", "crl").or_else(|| of("ca.crt", "ca.crl")).ok_or_else(|| Problem {
            code: Code::InvalidGatewayCredential,
            message: format!("the Secret {source} has neither ca.crt nor cacert"),
            remedy: "put the authorities that client or server certificates chain to into ca.crt",
        })
    }

    /// The name of a Secret beside the gateway.
    fn local_name<'n>(&self, reference: &'n str) -> Result<&'n str, Problem> {
        let reference = reference.strip_prefix("kubernetes://").unwrap_or(reference);
        let path = reference.strip_prefix("kubernetes-gateway://").unwrap_or(reference);
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(Problem {
                code: Code::FieldNotHonoured,
                message: format!("credentials of the kind {scheme}:// cannot be used"),
                remedy: "put the certificate into a Secret and name that",
            });
        }
        match path.split_once('/') {
            None => Ok(path),
            Some((namespace, name)) if namespace == self.namespace => Ok(name),
            Some(_) => Err(self.elsewhere(path)),
        }
    }

    fn find(&self, name: &str) -> Option<&'a Secret> {
        let secret = self.objects.secrets.get(&(self.namespace.to_owned(), name.to_owned()))?;
        let kind = secret.spec.kind.as_deref().unwrap_or_default();
        (!IGNORED_TYPES.contains(&kind)).then_some(&**secret)
    }

    fn missing(&self, name: &str) -> Problem {
        let elsewhere = self.objects.secrets.keys().find(|(_, held)| held == name);
        let hint = elsewhere.map(|(namespace, _)| format!("; the one in {namespace} does not count"));
        Problem {
            code: Code::ReferencedResourceNotFound,
            message: format!("there is no Secret {}/{name}{}", self.namespace, hint.unwrap_or_default()),
            remedy: "create it in the namespace of the gateway's pod",
        }
    }

    fn elsewhere(&self, path: &str) -> Problem {
        Problem {
            code: Code::CredentialElsewhere,
            message: format!("{path} is not in {}, the namespace of the gateway's pod", self.namespace),
            remedy: "put it into the namespace of the gateway's pod",
        }
    }

    fn source(&self, name: &str) -> Arc<str> {
        format!("{}/{name}", self.namespace).into()
    }
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.spec.value(key).filter(|value| !value.is_empty())
}
