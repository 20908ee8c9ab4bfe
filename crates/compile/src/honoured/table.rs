//! The table itself. `{a,b}` stands for each of its alternatives; `.**` at the end for the field and all below it.

use portcullis_api::Kind;

use super::Honoured::{self, Ignored, No, Yes};

/// Fields of one kind that share a state.
pub(super) struct Table {
    pub(super) kind: Kind,
    pub(super) state: Honoured,
    pub(super) paths: &'static [&'static str],
}

const MESH_ONLY: &str = "it is about sidecars and the control plane";
const OBSERVABILITY: &str = "logs, metrics and traces have settings of their own";
const PEERS: &str =
    "zones are balanced by gateways that know their peers, which Istio's are only told on request";
const ADDRESSING: &str = "it is about addresses and ports outside the gateway";

/// Every field, in tables by kind and state.
pub(super) const TABLES: &[Table] = &[
    Table {
        kind: Kind::Gateway,
        state: Yes,
        paths: &[
            "spec.{selector,servers}",
            "spec.servers[].{bind,hosts,port,tls}",
            "spec.servers[].port.{name,number,protocol}",
            "spec.servers[].tls.{mode,httpsRedirect,credentialName,credentialNames,caCertCredentialName}",
            "spec.servers[].tls.{minProtocolVersion,maxProtocolVersion,cipherSuites,subjectAltNames}",
            "spec.servers[].tls.{insecureSkipVerify,verifyCertificateHash,verifyCertificateSpki}",
        ],
    },
    Table {
        kind: Kind::Gateway,
        state: No,
        paths: &[
            "spec.servers[].tls.{serverCertificate,privateKey,caCertificates,caCrl,ecdhCurves}",
            "spec.servers[].tls.tlsCertificates.**",
        ],
    },
    Table {
        kind: Kind::Gateway,
        state: Ignored("Istio accepts it and never implemented it"),
        paths: &["spec.servers[].defaultEndpoint"],
    },
    Table {
        kind: Kind::Gateway,
        state: Ignored("it only names statistics of Envoy"),
        paths: &["spec.servers[].name"],
    },
    Table {
        kind: Kind::Gateway,
        state: Ignored("Istio's admission refuses it"),
        paths: &["spec.servers[].port.targetPort"],
    },
    Table {
        kind: Kind::VirtualService,
        state: Yes,
        paths: &[
            "spec.{exportTo,gateways,hosts,http,tcp,tls}",
            "spec.http[].{name,match,route,redirect,directResponse,delegate,rewrite,timeout,retries,fault}",
            "spec.http[].{corsPolicy,headers}",
            "spec.http[].match[].{name,port,gateways,sourceLabels,sourceNamespace,ignoreUriCase}",
            "spec.http[].match[].{uri,scheme,method,authority}{,.exact,.prefix,.regex}",
            "spec.http[].match[].{headers,withoutHeaders,queryParams}{,.*.exact,.*.prefix,.*.regex}",
            "spec.http[].{,route[].}headers.{request,response}{,.add,.remove,.set}",
            "spec.http[].route[].{destination,headers,weight}",
            "spec.http[].route[].destination.{host,subset,port,port.number}",
            "spec.http[].delegate.{name,namespace}",
            "spec.http[].{mirrorPercent,mirror_percent,mirrorPercentage,mirrorPercentage.value}",
            "spec.http[].mirror{,.host,.subset,.port,.port.number}",
            "spec.http[].mirrors{,[].percentage,[].percentage.value}",
            "spec.http[].mirrors[].destination{,.host,.subset,.port,.port.number}",
            "spec.http[].directResponse.{status,body,body.bytes,body.string}",
            "spec.http[].redirect.{uri,prefixRewrite,authority,port,derivePort,scheme,redirectCode}",
            "spec.http[].rewrite.{uri,authority,uriRegexRewrite}",
            "spec.http[].rewrite.uriRegexRewrite.{match,rewrite}",
            "spec.http[].retries.{attempts,backoff,perTryTimeout,retryIgnorePreviousHosts,retryOn}",
            "spec.http[].retries.retryRemoteLocalities",
            "spec.http[].fault.{abort,delay}{,.percentage,.percentage.value}",
            "spec.http[].fault.abort.{grpcStatus,httpStatus}",
            "spec.http[].fault.delay.{fixedDelay,percent}",
            "spec.http[].corsPolicy.{allowOrigin,allowOrigins,allowMethods,allowHeaders,exposeHeaders,maxAge}",
            "spec.http[].corsPolicy.{allowCredentials,unmatchedPreflights}",
            "spec.http[].corsPolicy.allowOrigins[].{exact,prefix,regex}",
            "spec.{tcp,tls}[].{match,route}",
            "spec.{tcp,tls}[].match[].{gateways,port}",
            "spec.tls[].match[].sniHosts",
            "spec.{tcp,tls}[].route[].{destination,weight}",
            "spec.{tcp,tls}[].route[].destination.{host,subset,port,port.number}",
        ],
    },
    Table {
        kind: Kind::VirtualService,
        state: Ignored("it only names statistics of Envoy"),
        paths: &["spec.http[].match[].statPrefix"],
    },
    Table {
        kind: Kind::VirtualService,
        state: Ignored("Istio's admission refuses it"),
        paths: &["spec.http[].fault.abort.http2Error", "spec.http[].fault.delay.exponentialDelay"],
    },
    Table {
        kind: Kind::VirtualService,
        state: Ignored("Istio's gateway does not look at it"),
        paths: &[
            "spec.{tcp,tls}[].match[].{destinationSubnets,sourceLabels,sourceNamespace}",
            "spec.tcp[].match[].sourceSubnet",
        ],
    },
    Table {
        kind: Kind::DestinationRule,
        state: Yes,
        paths: &[
            "spec.{exportTo,host,subsets,trafficPolicy,workloadSelector,workloadSelector.matchLabels}",
            "spec.subsets[].{labels,name,trafficPolicy}",
            "spec.{,subsets[].}trafficPolicy.portLevelSettings{,[].port,[].port.number}",
            "spec.{,subsets[].}trafficPolicy.retryBudget{,.percent,.minRetryConcurrency}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}{connectionPool,loadBalancer,outlierDetection,tls}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}connectionPool.{http,tcp}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}connectionPool.http.{h2UpgradePolicy,http1MaxPendingRequests,http2MaxRequests,idleTimeout,maxConcurrentStreams,maxRequestsPerConnection,maxRetries,useClientProtocol}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}connectionPool.tcp.{connectTimeout,idleTimeout,maxConnectionDuration,maxConnections,tcpKeepalive}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}connectionPool.tcp.tcpKeepalive.{interval,probes,time}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}connectionPool.http.http2KeepAlive{,.interval,.timeout}",
            "spec.{,subsets[].}trafficPolicy.proxyProtocol{,.version}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.{consistentHash,localityLbSetting,simple,warmup,warmupDurationSecs,zoneAwareLbSetting}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.{localityLbSetting,zoneAwareLbSetting}.{enabled,failover,failoverPriority}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.{localityLbSetting,zoneAwareLbSetting}.failover[].{from,to}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.localityLbSetting.{distribute,distribute[].from,distribute[].to}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.warmup.{aggression,duration,minimumPercent}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.consistentHash.httpCookie.attributes{,[].name,[].value}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.consistentHash.{httpCookie,httpHeaderName,httpQueryParameterName,maglev,minimumRingSize,ringHash,useSourceIp}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.consistentHash.{httpCookie.name,httpCookie.path,httpCookie.ttl,maglev.tableSize,ringHash.minimumRingSize}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}outlierDetection.{baseEjectionTime,consecutive5xxErrors,consecutiveGatewayErrors,consecutiveLocalOriginFailures,interval,maxEjectionPercent,minHealthPercent,outlierDetectionHttpErrorCodes,splitExternalLocalOriginErrors}",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}tls.{caCertificates,caCrl,clientCertificate,credentialName,insecureSkipVerify,mode,privateKey,sni,subjectAltNames}",
        ],
    },
    Table {
        kind: Kind::DestinationRule,
        state: No,
        paths: &[
            "spec.{,subsets[].}trafficPolicy.tunnel.**",
            "spec.{,subsets[].}trafficPolicy.retryBudget.budgetInterval",
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.backendUtilization.**",
        ],
    },
    Table {
        kind: Kind::DestinationRule,
        state: Ignored(PEERS),
        paths: &[
            "spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}loadBalancer.zoneAwareLbSetting.minClusterSize",
        ],
    },
    Table {
        kind: Kind::DestinationRule,
        state: Ignored("Istio no longer looks at it"),
        paths: &["spec.{,subsets[].}trafficPolicy.{,portLevelSettings[].}outlierDetection.consecutiveErrors"],
    },
    Table {
        kind: Kind::ServiceEntry,
        state: Yes,
        paths: &[
            "spec.{hosts,ports,endpoints,exportTo,resolution,subjectAltNames}",
            "spec.{workloadSelector,workloadSelector.labels}",
            "spec.ports[].{name,number,protocol,targetPort}",
            "spec.endpoints[].{address,labels,locality,ports,weight}",
        ],
    },
    Table {
        kind: Kind::ServiceEntry,
        state: Ignored("a gateway routes by host, not by virtual address"),
        paths: &["spec.addresses"],
    },
    Table {
        kind: Kind::ServiceEntry,
        state: Ignored("it only matters between workloads of a mesh"),
        paths: &["spec.location", "spec.endpoints[].{network,serviceAccount}"],
    },
    Table { kind: Kind::WorkloadEntry, state: Yes, paths: &["spec.{address,labels,locality,ports,weight}"] },
    Table {
        kind: Kind::WorkloadEntry,
        state: Ignored("it only matters between workloads of a mesh"),
        paths: &["spec.{network,serviceAccount}"],
    },
    Table {
        kind: Kind::MeshConfig,
        state: Yes,
        paths: &[
            "{connectTimeout,dnsRefreshRate,tcpKeepalive,tcpKeepalive.interval,tcpKeepalive.probes,tcpKeepalive.time}",
            "{defaultServiceExportTo,defaultVirtualServiceExportTo,defaultDestinationRuleExportTo}",
            "{rootNamespace,h2UpgradePolicy,pathNormalization,pathNormalization.normalization}",
            "defaultHttpRetryPolicy{,.attempts,.backoff,.perTryTimeout,.retryIgnorePreviousHosts,.retryOn}",
            "defaultHttpRetryPolicy.retryRemoteLocalities",
            "localityLbSetting{,.distribute,.distribute[].from,.distribute[].to}",
            "{localityLbSetting,zoneAwareLbSetting}.{enabled,failover,failoverPriority}",
            "{localityLbSetting,zoneAwareLbSetting}.failover[].{from,to}",
            "zoneAwareLbSetting",
            "tlsDefaults{,.cipherSuites,.ecdhCurves,.minProtocolVersion}",
            "defaultConfig{,.gatewayTopology}",
            "defaultConfig.gatewayTopology.{forwardClientCertDetails,numTrustedProxies,proxyProtocol}",
            "defaultTrafficPolicy{,.connectionPool,.outlierDetection,.connectionPool.http,.connectionPool.tcp}",
            "defaultTrafficPolicy.connectionPool.http.{h2UpgradePolicy,http1MaxPendingRequests,http2MaxRequests}",
            "defaultTrafficPolicy.connectionPool.http.{idleTimeout,maxConcurrentStreams,maxRequestsPerConnection}",
            "defaultTrafficPolicy.connectionPool.http.{maxRetries,useClientProtocol}",
            "defaultTrafficPolicy.connectionPool.tcp.{connectTimeout,idleTimeout,maxConnectionDuration}",
            "defaultTrafficPolicy.connectionPool.tcp.{maxConnections,tcpKeepalive}",
            "defaultTrafficPolicy.connectionPool.tcp.tcpKeepalive.{interval,probes,time}",
            "defaultTrafficPolicy.connectionPool.http.http2KeepAlive{,.interval,.timeout}",
            "defaultTrafficPolicy.outlierDetection.{baseEjectionTime,consecutive5xxErrors,interval}",
            "defaultTrafficPolicy.outlierDetection.{consecutiveGatewayErrors,consecutiveLocalOriginFailures}",
            "defaultTrafficPolicy.outlierDetection.{maxEjectionPercent,minHealthPercent}",
            "defaultTrafficPolicy.outlierDetection.splitExternalLocalOriginErrors",
            "defaultTrafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
        ],
    },
    Table {
        kind: Kind::MeshConfig,
        state: No,
        paths: &["protocolDetectionTimeout", "defaultConfig.{connectionSettings,proxyHeaders}.**"],
    },
    Table { kind: Kind::MeshConfig, state: Ignored(PEERS), paths: &["zoneAwareLbSetting.minClusterSize"] },
    Table {
        kind: Kind::MeshConfig,
        state: Ignored("Istio no longer looks at it"),
        paths: &["defaultTrafficPolicy.outlierDetection.consecutiveErrors"],
    },
    Table {
        kind: Kind::MeshConfig,
        state: Ignored(OBSERVABILITY),
        paths: &[
            "{accessLogEncoding,accessLogFile,accessLogFormat,disableEnvoyListenerLog}",
            "{enableEnvoyAccessLogService,enablePrometheusMerge,enableTracing}",
            "{inboundClusterStatName,outboundClusterStatName}",
            "{extensionProviders,defaultProviders}.**",
            "defaultConfig.{envoyAccessLogService,envoyMetricsService,tracing,extraStatTags}.**",
            "defaultConfig.{envoyMetricsServiceAddress,fileFlushInterval,fileFlushMinSizeKb,statNameLength}",
            "defaultConfig.{statsCompression,statsdUdpAddress,tracingServiceName,zipkinAddress}",
            "defaultConfig.proxyStatsMatcher.**",
        ],
    },
    Table {
        kind: Kind::MeshConfig,
        state: Ignored(MESH_ONLY),
        paths: &[
            "{proxyHttpPort,proxyInboundListenPort,proxyListenPort,hboneIdleTimeout,enableAutoMtls}",
            "{inboundTrafficPolicy,outboundTrafficPolicy,meshMTLS,configSources,discoverySelectors}.**",
            "{ca,caCertificates,certificates,trustDomainAliases}.**",
            "{trustDomain,verifyCertificateAtClient}",
            "{serviceEntryVisibility,serviceScopeConfigs,serviceSettings}.**",
            "{ingressClass,ingressControllerMode,ingressSelector,ingressService}",
            "defaultConfig.{availabilityZone,binaryPath,caCertificatesPem,concurrency,configPath}",
            "defaultConfig.{controlPlaneAuthPolicy,customConfigFile,discoveryAddress,discoveryRefreshDelay}",
            "defaultConfig.{drainDuration,holdApplicationUntilProxyStarts,interceptionMode,meshId}",
            "defaultConfig.{proxyAdminPort,proxyBootstrapTemplatePath,serviceCluster,statusPort}",
            "defaultConfig.{image,privateKeyProvider,proxyMetadata,readinessProbe,runtimeValues,sds}.**",
            "defaultConfig.terminationDrainDuration",
        ],
    },
    Table {
        kind: Kind::Service,
        state: Yes,
        paths: &[
            "spec.{clusterIP,externalName,internalTrafficPolicy,ports,selector,trafficDistribution,type}",
            "spec.ports[].{appProtocol,name,port,protocol,targetPort}",
        ],
    },
    Table {
        kind: Kind::Service,
        state: Ignored(ADDRESSING),
        paths: &[
            "spec.{clusterIPs,externalIPs,ipFamilies,ipFamilyPolicy}",
            "spec.{allocateLoadBalancerNodePorts,loadBalancerClass,loadBalancerIP,loadBalancerSourceRanges}",
            "spec.{externalTrafficPolicy,healthCheckNodePort}",
            "spec.ports[].nodePort",
        ],
    },
    Table {
        kind: Kind::Service,
        state: Ignored("Istio's gateway does not look at it"),
        paths: &["spec.sessionAffinity", "spec.sessionAffinityConfig.**"],
    },
    Table {
        kind: Kind::Service,
        state: Ignored("Kubernetes itself reports the endpoints as ready"),
        paths: &["spec.publishNotReadyAddresses"],
    },
    Table {
        kind: Kind::EndpointSlice,
        state: Yes,
        paths: &[
            "{addressType,endpoints,ports}",
            "endpoints[].{addresses,conditions,conditions.ready,conditions.terminating,targetRef}",
            "endpoints[].{nodeName,zone}",
            "endpoints[].targetRef.{kind,name,namespace}",
            "ports[].{name,port,protocol}",
        ],
    },
    Table {
        kind: Kind::EndpointSlice,
        state: Ignored("Istio's gateway does not look at it"),
        paths: &[
            "endpoints[].{conditions.serving,deprecatedTopology,hostname}",
            "endpoints[].hints.**",
            "endpoints[].targetRef.{apiVersion,fieldPath,resourceVersion,uid}",
            "ports[].appProtocol",
        ],
    },
    Table {
        kind: Kind::Endpoints,
        state: Yes,
        paths: &[
            "{subsets,subsets[].addresses,subsets[].notReadyAddresses,subsets[].ports}",
            "subsets[].{addresses,notReadyAddresses}[].{ip,targetRef,targetRef.kind,targetRef.name}",
            "subsets[].{addresses,notReadyAddresses}[].targetRef.namespace",
            "subsets[].ports[].{name,port,protocol}",
        ],
    },
    Table {
        kind: Kind::Endpoints,
        state: Ignored("Istio's gateway does not look at it"),
        paths: &[
            "subsets[].{addresses,notReadyAddresses}[].{hostname,nodeName,targetRef.apiVersion}",
            "subsets[].{addresses,notReadyAddresses}[].targetRef.{fieldPath,resourceVersion,uid}",
            "subsets[].ports[].appProtocol",
        ],
    },
    Table { kind: Kind::Secret, state: Yes, paths: &["{data,stringData,type}"] },
    Table { kind: Kind::Secret, state: Ignored("it is about the API server"), paths: &["immutable"] },
    Table { kind: Kind::ConfigMap, state: Yes, paths: &["data"] },
    Table {
        kind: Kind::ConfigMap,
        state: Ignored("Istio reads authorities from data alone"),
        paths: &["binaryData"],
    },
    Table { kind: Kind::ConfigMap, state: Ignored("it is about the API server"), paths: &["immutable"] },
    Table {
        kind: Kind::Pod,
        state: Yes,
        paths: &["{spec,spec.nodeName,status,status.phase,status.podIP,status.podIPs,status.podIPs[].ip}"],
    },
    Table {
        kind: Kind::Pod,
        state: Ignored("nothing depends on it"),
        paths: &["spec.{hostNetwork,serviceAccountName}"],
    },
];
