//! What the compiler has to say about objects: codes, and a collector that sorts.

use std::cmp::Ordering;
use std::fmt;

use portcullis_api::{Kind, Meta, ObjectRef, Origin, Resource, Severity};

/// One finding about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub code: Code,
    /// The object.
    pub object: ObjectRef,
    /// Path of the field, such as `spec.http[2].match[0].uri.regex`; empty for the whole object.
    pub field: String,
    /// What was found and what follows from it, one sentence.
    pub message: String,
    /// What to do about it, one sentence; empty where there is nothing to add.
    pub remedy: String,
    /// Where the object was read, if that is known.
    pub origin: Option<Origin>,
}

impl Ord for Diagnostic {
    /// The worst first, then by object and field.
    fn cmp(&self, other: &Self) -> Ordering {
        let origin = |diagnostic: &Self| {
            diagnostic.origin.as_ref().map(|origin| (origin.source.clone(), origin.document, origin.line))
        };
        let place = |diagnostic: &Self| (diagnostic.object.clone(), diagnostic.code);
        other
            .severity
            .cmp(&self.severity)
            .then_with(|| place(self).cmp(&place(other)))
            .then_with(|| self.field.cmp(&other.field))
            .then_with(|| self.message.cmp(&other.message))
            .then_with(|| self.remedy.cmp(&other.remedy))
            .then_with(|| origin(self).cmp(&origin(other)))
    }
}

impl PartialOrd for Diagnostic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Diagnostic {
    /// A block of two to four lines: severity, code and title; object and field with their place; what is
    /// wrong; what to do.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} {} {}", self.severity, self.code.code(), self.code.title())?;
        write!(out, "  {}", self.object)?;
        if !self.field.is_empty() {
            write!(out, " {}", self.field)?;
        }
        if let Some(origin) = &self.origin {
            write!(out, " ({}", origin.source)?;
            if origin.line > 0 {
                write!(out, ":{}", origin.line)?;
            }
            out.write_str(")")?;
        }
        write!(out, "\n  {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(out, "\n  {}", self.remedy)?;
        }
        Ok(())
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $severity:ident, $title:literal;)*) => {
        /// What a diagnostic is about. `IST` codes mean what they mean in `istioctl analyze`; `PCL` codes are
        /// our own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, such as `IST0101`: it appears in output and may be filtered on.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// A short title.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it is about, in a sentence or two.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// A field that is deprecated.
    Deprecated = "IST0002", Warning, "Deprecated";
    /// A name that leads to nothing: Gateway, Secret, destination host, port or subset.
    ReferencedResourceNotFound = "IST0101", Error, "ReferencedResourceNotFound";
    /// A value Istio's admission would refuse.
    SchemaValidationError = "IST0106", Error, "SchemaValidationError";
    /// One host in several VirtualServices for sidecars. Istio calls it an error; this gateway is not affected.
    ConflictingMeshGatewayVirtualServiceHosts =
        "IST0109", Warning, "ConflictingMeshGatewayVirtualServiceHosts";
    /// A destination without port on a service with several.
    DestinationPortSelectorRequired = "IST0112", Error, "VirtualServiceDestinationPortSelectorRequired";
    /// A port of a Service whose name tells no protocol.
    PortNameIsNotUnderNamingConvention = "IST0118", Info, "PortNameIsNotUnderNamingConvention";
    /// A DestinationRule with TLS and without an authority of its own.
    NoServerCertificateVerificationDestinationLevel =
        "IST0128", Warning, "NoServerCertificateVerificationDestinationLevel";
    /// TLS without an authority of its own in the settings of one port.
    NoServerCertificateVerificationPortLevel = "IST0129", Warning, "NoServerCertificateVerificationPortLevel";
    /// A rule that can never be reached.
    UnreachableRule = "IST0130", Warning, "VirtualServiceUnreachableRule";
    /// A match entry that can never be reached.
    IneffectiveMatch = "IST0131", Info, "VirtualServiceIneffectiveMatch";
    /// A host of a VirtualService that no server of its Gateway holds.
    HostNotFoundInGateway = "IST0132", Warning, "VirtualServiceHostNotFoundInGateway";
    /// A value Istio's admission would warn about.
    SchemaWarning = "IST0133", Warning, "SchemaWarning";
    /// A ServiceEntry for plain TCP without addresses.
    ServiceEntryAddressesRequired = "IST0134", Warning, "ServiceEntryAddressesRequired";
    /// One certificate in two Gateways.
    GatewayDuplicateCertificate = "IST0138", Warning, "GatewayDuplicateCertificate";
    /// Two Gateways with the same port and host.
    ConflictingGateways = "IST0145", Error, "ConflictingGateways";
    /// A port of an ExternalName Service whose name tells no protocol above TCP.
    ExternalNameServiceTypeInvalidPortName = "IST0150", Warning, "ExternalNameServiceTypeInvalidPortName";
    /// A Secret that cannot serve as a credential.
    InvalidGatewayCredential = "IST0161", Error, "InvalidGatewayCredential";
    /// A server port that the gateway's Service does not have.
    GatewayPortNotDefinedOnService = "IST0162", Warning, "GatewayPortNotDefinedOnService";
    /// A VirtualService that names a Gateway Istio made of one of the Gateway API.
    ReferencedInternalGateway = "IST0165", Warning, "ReferencedInternalGateway";
    /// A subset that no endpoint of its service is in.
    DestinationRuleSubsetNotSelectPods = "IST0173", Error, "DestinationRuleSubsetNotSelectPods";
    /// A DestinationRule for a host that is no service.
    UnknownDestinationRuleHost = "IST0174", Warning, "UnknownDestinationRuleHost";
    /// ServiceEntries that call one port of one host by different protocols.
    ConflictingServiceEntryProtocol = "IST0177", Warning, "ConflictingServiceEntryProtocol";
    /// Two objects with one kind, namespace and name.
    DuplicateObject = "PCL1001", Warning, "DuplicateObject";
    /// A field that is accepted and has no effect yet.
    FieldNotHonoured = "PCL1002", Warning, "FieldNotHonoured";
    /// A server whose port already carries another family of protocols.
    PortProtocolConflict = "PCL1003", Error, "PortProtocolConflict";
    /// A server with TLS settings that is dropped since another one has one of its hosts.
    DuplicateTlsHost = "PCL1004", Error, "DuplicateTlsHost";
    /// A server name that an older chain of the same port has.
    DuplicateServerName = "PCL1005", Error, "DuplicateServerName";
    /// A TCP or TLS server that no rule leads away from: its port stays closed.
    ServerWithoutRoute = "PCL1006", Warning, "ServerWithoutRoute";
    /// TLS settings without mode: the connection is passed through, not terminated.
    PassthroughByDefault = "PCL1007", Warning, "PassthroughByDefault";
    /// A VirtualService without `gateways`.
    NotBoundToGateway = "PCL1008", Info, "NotBoundToGateway";
    /// A delegate that is missing, invisible or not one.
    DelegateNotUsable = "PCL1009", Error, "DelegateNotUsable";
    /// A TLS rule with a server name that an older rule has taken.
    DuplicateSniHost = "PCL1010", Warning, "DuplicateSniHost";
    /// A rule or match that no request at this gateway can meet.
    NeverApplies = "PCL1011", Warning, "NeverApplies";
    /// A Gateway that selects other workloads.
    GatewayOfOtherWorkload = "PCL1012", Info, "GatewayOfOtherWorkload";
    /// A port the gateway cannot listen on.
    PortNotUsable = "PCL1013", Error, "PortNotUsable";
    /// A certificate challenge that a redirect to https swallows.
    ChallengeRedirected = "PCL1014", Warning, "ChallengeRedirected";
    /// A mesh setting given more than once.
    SeveralMeshConfigs = "PCL1015", Warning, "SeveralMeshConfigs";
    /// A credential of another namespace than the gateway's.
    CredentialElsewhere = "PCL1016", Error, "CredentialElsewhere";
    /// A certificate that is no longer, or not yet, valid.
    CertificateNotValid = "PCL1017", Warning, "CertificateNotValid";
    /// PostgreSQL whose TLS ends at the gateway: SCRAM cannot be bound to the server's certificate.
    ChannelBindingLost = "PCL1018", Info, "ChannelBindingLost";
    /// A security policy that is not enforced.
    PolicyNotEnforced = "PCL1019", Error, "PolicyNotEnforced";
    /// An object that would change what is served, of a kind that is not honoured yet.
    KindNotHonoured = "PCL1020", Warning, "KindNotHonoured";
    /// A certificate that a Gateway asks for in a way that cannot be followed.
    BadCertificateRequest = "PCL1021", Error, "BadCertificateRequest";
    /// A certificate that a Gateway may not ask for.
    CertificateNotAllowed = "PCL1022", Warning, "CertificateNotAllowed";
    /// A certificate that another Gateway, or somebody else, has.
    CertificateConflict = "PCL1023", Warning, "CertificateConflict";
    /// Certificates are asked for in a cluster without cert-manager.
    CertManagerAbsent = "PCL1024", Warning, "CertManagerAbsent";
    /// A certificate that has been asked for and is not issued yet.
    CertificateNotReady = "PCL1025", Info, "CertificateNotReady";
    /// A value that cannot be served, so that what it belongs to is left out. Where Istio's admission would refuse it,
    /// `check` says so in its place.
    NotServed = "PCL1030", Error, "NotServed";
    /// A host that several VirtualServices serve: which of them is tried first.
    SharedHost = "PCL1040", Info, "SharedHost";
    /// A rule or match that a rule of another VirtualService always takes first.
    ShadowedByOther = "PCL1041", Warning, "ShadowedByOther";
    /// Rules of a kind that no server of the Gateways serves.
    RulesWithoutServer = "PCL1042", Warning, "RulesWithoutServer";
    /// A delegate that no VirtualService delegates to.
    DelegateNotUsed = "PCL1043", Info, "DelegateNotUsed";
    /// A delegate's rule whose matches do not fit those of its root.
    DelegateRuleDropped = "PCL1044", Warning, "DelegateRuleDropped";
    /// Weights that do not mean what they seem to.
    UnusualWeights = "PCL1045", Info, "UnusualWeights";
    /// A DestinationRule that no service gets, since another one is preferred or this one is not visible.
    DestinationRuleNotUsed = "PCL1046", Warning, "DestinationRuleNotUsed";
    /// A part of a DestinationRule that an older one for the same host has, too.
    DestinationRulesOverlap = "PCL1047", Warning, "DestinationRulesOverlap";
    /// A subset that no route names.
    SubsetNotUsed = "PCL1048", Info, "SubsetNotUsed";
    /// A ServiceEntry for a host that another object has.
    ServiceEntryHidden = "PCL1049", Warning, "ServiceEntryHidden";
}

/// The object a diagnostic will be about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    kind: Kind,
    meta: &'a Meta,
    origin: &'a Origin,
}

impl<'a> Subject<'a> {
    /// A resource of the given kind.
    pub(crate) fn new<S>(kind: Kind, resource: &'a Resource<S>) -> Self {
        Self { kind, meta: &resource.meta, origin: &resource.origin }
    }

    /// What is known of any object.
    pub(crate) fn meta(&self) -> &'a Meta {
        self.meta
    }

    /// `VirtualService default/app`.
    pub(crate) fn object_ref(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.name().into(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
        }
    }
}

/// Collects diagnostics; they come out sorted and each once, whatever order they were found in.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    found: Vec<Diagnostic>,
    ignored: bool,
}

impl Diagnostics {
    /// Collects nothing: for what is compiled to be served, and judged another time.
    pub(crate) fn ignored() -> Self {
        Self { found: Vec::new(), ignored: true }
    }

    /// Whether nothing is collected, so that what only finds findings need not be done.
    pub(crate) fn are_ignored(&self) -> bool {
        self.ignored
    }

    /// Adds a diagnostic.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.ignored {
            self.found.push(diagnostic);
        }
    }

    /// Adds a diagnostic about `subject`, with the severity of its code.
    pub(crate) fn report(
        &mut self,
        code: Code,
        subject: Subject<'_>,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.ignored {
            return;
        }
        self.push(Diagnostic {
            severity: code.severity(),
            code,
            object: subject.object_ref(),
            field: field.into(),
            message: message.into(),
            remedy: remedy.into(),
            // An object without a source was made by hand; nobody can be sent there.
            origin: Some(subject.origin.clone()).filter(|origin| !origin.source.is_empty()),
        });
    }

    /// Everything found, sorted, without repetitions.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort();
        self.found.dedup();
        self.found
    }
}

/// Reports about one part of one object.
#[derive(Debug)]
pub(crate) struct Reporter<'d, 's> {
    diagnostics: &'d mut Diagnostics,
    subject: Subject<'s>,
    path: String,
}

impl<'d, 's> Reporter<'d, 's> {
    /// About the part at `path`, such as `spec.http[0]`.
    pub(crate) fn new(
        diagnostics: &'d mut Diagnostics,
        subject: Subject<'s>,
        path: impl Into<String>,
    ) -> Self {
        Self { diagnostics, subject, path: path.into() }
    }

    /// About a part of this part: `field` is appended to the path.
    pub(crate) fn at(&mut self, field: impl fmt::Display) -> Reporter<'_, 's> {
        let path = self.joined(field);
        Reporter { diagnostics: self.diagnostics, subject: self.subject, path }
    }

    /// Adds a diagnostic about `field` of this part; an empty one means the part itself.
    pub(crate) fn report(
        &mut self,
        code: Code,
        field: impl fmt::Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let path = self.joined(field);
        self.diagnostics.report(code, self.subject, path, message, remedy);
    }

    /// As [`Reporter::report`], with another severity than the code's.
    pub(crate) fn report_as(
        &mut self,
        severity: Severity,
        code: Code,
        field: impl fmt::Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report(code, field, message, remedy);
        if let Some(last) = self.diagnostics.found.last_mut() {
            last.severity = severity;
        }
    }

    /// Reports a value that cannot be served; what it belongs to is left out.
    pub(crate) fn refuse<T>(
        &mut self,
        field: impl fmt::Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.report(Code::NotServed, field, message, remedy);
        None
    }

    fn joined(&self, field: impl fmt::Display) -> String {
        if self.diagnostics.are_ignored() {
            // A path for nobody, for each part of each route.
            return String::new();
        }
        let field = field.to_string();
        match field.as_str() {
            "" => self.path.clone(),
            _ if self.path.is_empty() => field,
            index if index.starts_with('[') => format!("{}{index}", self.path),
            name => format!("{}.{name}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_titles_are_unique() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.code()).collect();
        let titles: BTreeSet<_> = Code::ALL.iter().map(|code| code.title()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        assert_eq!(titles.len(), Code::ALL.len());
    }

    #[test]
    fn the_worst_comes_first_and_once() {
        let origin = Origin { source: "a.yaml".into(), document: 0, line: 3 };
        let meta = Meta { name: "app".into(), namespace: "default".into(), ..Meta::default() };
        let resource = Resource { meta, spec: (), conditions: Vec::new(), origin };
        let subject = Subject::new(Kind::VirtualService, &resource);
        let mut all = Diagnostics::default();
        all.report(Code::NotBoundToGateway, subject, "", "b", "");
        all.report(Code::SchemaValidationError, subject, "spec.http[0]", "bad", "mend it");
        all.report(Code::NotBoundToGateway, subject, "", "b", "");
        let all = all.into_sorted();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].to_string(),
            "error IST0106 SchemaValidationError\n  VirtualService default/app spec.http[0] (a.yaml:3)\n  bad\n  mend it"
        );
    }
}
