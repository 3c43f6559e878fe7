//! The rules for the connection to Kafka, and for the properties of the client.

use super::CelRule;

// The connection to Kafka.
rules! {
    BROKERS_OR_BINDING: "has(self.bootstrapServers) != has(self.binding)"
        => "kafka needs either bootstrapServers or binding. \
        With bootstrapServers write tls and authentication as the cluster needs them; binding is a Secret with the whole connection";

    BINDING_ALONE: concat!("!has(self.binding) || (", none!("tls", "authentication"), ")")
        => "kafka.binding excludes tls and authentication. Leave both out: the Secret has the whole connection";

    CERTIFICATE_NEEDS_TLS: "!has(self.authentication) || self.authentication.type != 'tls' || has(self.tls)"
        => "authentication of type tls needs kafka.tls. The client certificate is presented in TLS: write tls too, such as \
        tls: {trustedCertificates: [{secretName: my-cluster-cluster-ca-cert, certificate: ca.crt}]}";

    BOOTSTRAP_SERVERS: concat!("self.matches('^", broker!(), "(,", broker!(), ")*$')")
        => "bootstrapServers must be host:port, such as kafka-bootstrap.kafka:9092. \
        Separate several with commas, without spaces. An IPv6 address stands in brackets, such as [fd00::1]:9092";

    CERTIFICATE_OR_PATTERN: "has(self.certificate) != has(self.pattern)"
        => "each entry of trustedCertificates needs either certificate or pattern. \
        certificate is one key of the Secret, such as ca.crt; pattern selects several, such as \"*.crt\"";

    KEY_PATTERN: "self.matches('^[-._a-zA-Z0-9*?]+$')"
        => "pattern must select keys of the Secret, such as \"*.crt\". \
        It has letters, digits, '-', '_' and '.', * for any characters, and ? for one";

    TLS_AUTHENTICATION: concat!(
        "self.type != 'tls' || (has(self.certificateAndKey) && ",
        none!("username", "passwordSecret", "tokenEndpointUri", "clientId", "clientSecret", "scope", "tlsTrustedCertificates"), " && ",
        none!("audience", "credentialsIn", "headerUrlencode", "saslExtensions"),
        ")"
    ) => "authentication of type tls needs certificateAndKey, and nothing else";

    PASSWORD_AUTHENTICATION: concat!(
        "!(self.type in ['scram-sha-256', 'scram-sha-512', 'plain']) || (", all!("username", "passwordSecret"), " && ",
        none!("certificateAndKey", "tokenEndpointUri", "clientId", "clientSecret", "scope", "tlsTrustedCertificates"), " && ",
        none!("audience", "credentialsIn", "headerUrlencode", "saslExtensions"),
        ")"
    ) => "authentication with a password needs username and passwordSecret, and nothing else. \
        That is so for the types scram-sha-256, scram-sha-512 and plain";

    OAUTH_AUTHENTICATION: concat!(
        "self.type != 'oauth' || (", all!("tokenEndpointUri", "clientId", "clientSecret"), " && ",
        none!("certificateAndKey", "username", "passwordSecret"),
        ")"
    ) => "authentication of type oauth needs tokenEndpointUri, clientId and clientSecret. \
        It may have scope, audience, credentialsIn, headerUrlencode, saslExtensions and tlsTrustedCertificates, and nothing else";

    SASL_EXTENSIONS: "self.all(k, k != 'auth' && k.matches('^[A-Za-z]+$') && self[k].matches('^[ -~]+$'))"
        => "saslExtensions must have names of letters, other than auth, and values of printable ASCII characters";

    TOKEN_ENDPOINT: "self.matches('^https://[^ @#?/]+(/[^ @#?]*)?$')"
        => "tokenEndpointUri must be an https:// address without user, query and fragment. \
        Write it such as https://idp.example.com/oauth2/token";
}

// The properties of the client.
rules! {
    CONFIG_WITHOUT_SECURITY: "self.all(k, !k.startsWith('ssl.') && !k.startsWith('sasl.') && k != 'security.protocol' \
        && !k.startsWith('enable.ssl') && !k.startsWith('oauthbearer'))"
        => "config cannot set TLS and SASL. Write kafka.tls and kafka.authentication, which read Secrets: \
        no property may name a file, a command or an endpoint on the operator's side";

    CONFIG_WITHOUT_BROKERS: "self.all(k, !(k in ['bootstrap.servers', 'metadata.broker.list']))"
        => "config cannot name brokers. Write bootstrapServers or binding";

    CONFIG_LISTED: concat!(
        "self.all(k, k.startsWith('ssl.') || k.startsWith('sasl.') || k.startsWith('enable.ssl') || k.startsWith('oauthbearer')",
        " || k in [",
        quoted!("security.protocol", "bootstrap.servers", "metadata.broker.list", "client.id", "client.dns.lookup"), ", ",
        quoted!("broker.address.family", "socket.keepalive.enable", "socket.nagle.disable"), ", ", times!(quoted), "])"
    ) => concat!(
        "config has a property that is not on the list. Write only client.id, client.dns.lookup, broker.address.family, ",
        "socket.keepalive.enable, socket.nagle.disable, ", times!(listed), ". Others would change how the operator commits, ",
        "or what it reads on its own side"
    );

    CONFIG_TIMES: concat!("self.all(k, !(k in [", times!(quoted), "]) || self[k].matches('^(0|[1-9][0-9]{0,5})$'))")
        => "config has a time that is not a number of milliseconds from \"0\" to \"999999\"";

    CONFIG_SWITCHES: "self.all(k, !(k in ['socket.keepalive.enable', 'socket.nagle.disable']) || self[k] in ['true', 'false'])"
        => "config: socket.keepalive.enable and socket.nagle.disable must be \"true\" or \"false\"";

    CONFIG_FAMILY: "self.all(k, k != 'broker.address.family' || self[k] in ['any', 'v4', 'v6'])"
        => "config: broker.address.family must be any, v4 or v6";

    CONFIG_LOOKUP: "self.all(k, k != 'client.dns.lookup' \
        || self[k] in ['use_all_dns_ips', 'resolve_canonical_bootstrap_servers_only'])"
        => "config: client.dns.lookup must be use_all_dns_ips or resolve_canonical_bootstrap_servers_only";

    CONFIG_CLIENT_ID: "self.all(k, k != 'client.id' || self[k].matches('^[-._a-zA-Z0-9]+$'))"
        => "config: client.id must have only letters, digits, '.', '_' and '-'";
}
