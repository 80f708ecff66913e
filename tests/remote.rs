//! The policy for source URLs, in tables.
#![allow(clippy::expect_used, reason = "helpers of tests may panic like the tests")]

use std::process::Command;

use fdroid_bb::remote::{BadRemote, HostRule, MAX_LENGTH, RemotePolicy, Scheme};

/// What the default policy says to `text`: the host, or the message.
fn verdict(text: &str) -> Result<String, String> {
    judge(&RemotePolicy::default(), text)
}

fn judge(policy: &RemotePolicy, text: &str) -> Result<String, String> {
    policy.check(text).map(|url| url.host().to_owned()).map_err(|refusal| {
        let message = refusal.to_string();
        assert!(!refusal.help().is_empty());
        assert!(message.bytes().all(|b| (b' '..=b'~').contains(&b)), "{message:?}");
        assert!(message.len() < 160, "{message}");
        message
    })
}

fn wide(schemes: &[Scheme], hosts: &[&str]) -> RemotePolicy {
    RemotePolicy {
        schemes: schemes.iter().copied().collect(),
        allow_hosts: hosts.iter().map(|host| host.parse().expect("a rule")).collect(),
    }
}

const PUBLIC: &[(&str, &str)] = &[
    ("https://github.com/jdmonin/anstop", "github.com"),
    ("https://gitlab.com/fdroid/fdroidclient.git", "gitlab.com"),
    ("https://git.sr.ht/~singpolyma/cheogram-android/", "git.sr.ht"),
    ("https://svn.code.sf.net/p/angulo/code/", "svn.code.sf.net"),
    ("https://gitlab.torproject.org/a/b_c-d.e+f/-/x", "gitlab.torproject.org"),
    ("https://GitHub.com/Owner/Repo", "github.com"),
    ("https://example.org", "example.org"),
    ("https://example.org/", "example.org"),
    ("https://example.org//a//b", "example.org"),
    ("https://example.org:443/a", "example.org"),
    ("https://example.org:1/a", "example.org"),
    ("https://example.org:65535", "example.org"),
    ("https://0xacab.org/a/b", "0xacab.org"),
    ("https://1.1.1.1/a", "1.1.1.1"),
    ("https://9.255.255.255/a", "9.255.255.255"),
    ("https://100.63.255.255/a", "100.63.255.255"),
    ("https://172.32.0.0/a", "172.32.0.0"),
    ("https://[2606:4700:4700::1111]/a", "[2606:4700:4700::1111]"),
    ("https://[2A01:4F8::1]:8443/a", "[2a01:4f8::1]"),
    ("https://xn--bcher-kva.example.org/a", "xn--bcher-kva.example.org"),
    ("https://localhost.example.org/a", "localhost.example.org"),
    ("https://local.org/a.../..b/.git", "local.org"),
];

#[test]
fn public_remotes_pass_as_they_stand() {
    for (text, host) in PUBLIC {
        assert_eq!(verdict(text).as_deref(), Ok(*host), "{text}");
        let url = RemotePolicy::default().check(text).expect("public");
        assert_eq!(url.as_str(), *text);
    }
}

const NOT_PLAIN: &[(&str, &str)] = &[
    ("", "the URL is empty"),
    ("ext::sh -c whoami", "`ext::sh -c whoami` names a transport of git's"),
    ("ext::sh", "`ext::sh` names a transport of git's"),
    ("fd::17/foo", "`fd::17/foo` names a transport of git's"),
    ("https::https://example.org/a", "`https::https://example.org/a` names a transport of git's"),
    ("EXT::x", "`EXT::x` names a transport of git's"),
    (
        "--upload-pack=touch x",
        "`--upload-pack=touch x` starts with a dash and would be read as an option",
    ),
    ("-oProxyCommand=x", "`-oProxyCommand=x` starts with a dash and would be read as an option"),
    ("file:///etc/passwd", "the scheme `file` is not allowed"),
    ("file:/etc/passwd", "`file:/etc/passwd` is an address for ssh"),
    ("/srv/git/a.git", "`/srv/git/a.git` is a local path"),
    ("./a.git", "`./a.git` is a local path"),
    ("../../a.git", "`../../a.git` is a local path"),
    ("~/a.git", "`~/a.git` is a local path"),
    ("a.git", "`a.git` is a local path"),
    ("//example.org/a", "`//example.org/a` is a local path"),
    ("C:\\a", "the URL holds the character `\\`"),
    ("C:/a", "`C:/a` is an address for ssh"),
    ("git@github.com:a/b.git", "`git@github.com:a/b.git` is an address for ssh"),
    ("github.com:a/b.git", "`github.com:a/b.git` is an address for ssh"),
    ("https:example.org/a", "`https:example.org/a` is an address for ssh"),
    ("https:/example.org/a", "`https:/example.org/a` is an address for ssh"),
    ("ssh://git@github.com/a", "the scheme `ssh` is not allowed"),
    ("git+ssh://github.com/a", "the scheme `git+ssh` is not allowed"),
    ("git://github.com/a", "the scheme `git` is not allowed"),
    ("http://github.com/a", "the scheme `http` is not allowed"),
    ("bzr://github.com/a", "the scheme `bzr` is not allowed"),
    ("HTTPS://github.com/a", "the scheme `HTTPS` is not allowed"),
    ("://github.com/a", "the scheme `` is not allowed"),
    ("https://user:secret@github.com/a", "the URL carries credentials"),
    ("https://user@github.com/a", "the URL carries credentials"),
    ("https://@github.com/a", "the URL carries credentials"),
    ("https://github.com:443@127.0.0.1/a", "the URL carries credentials"),
    ("https://github.com\\@127.0.0.1/a", "the URL holds the character `\\`"),
    ("https://github.com/@127.0.0.1/a", "the URL holds the character `@`"),
    ("https://github.com#@127.0.0.1/a", "the URL holds the character `#`"),
    ("https://github.com?@127.0.0.1/a", "the URL holds the character `?`"),
    ("https://github.com/a?service=x", "the URL holds the character `?`"),
    ("https://github.com/a#b", "the URL holds the character `#`"),
    ("https://github.com/a;trunk=b", "the URL holds the character `;`"),
    ("https://github.com/a:b", "the URL holds the character `:`"),
    ("https://github.com/%2e%2e/a", "the URL holds the character `%`"),
    ("https://github%2ecom/a", "the URL holds the character `%`"),
    ("https://%31%32%37.0.0.1/a", "the URL holds the character `%`"),
    ("https://[fe80::1%25eth0]/a", "the URL holds the character `%`"),
    ("https://github.com/a'b", "the URL holds the character `'`"),
    ("https://github.com/a\"b", "the URL holds the character `\"`"),
    ("https://github.com/a`b", "the URL holds a backtick, U+0060"),
    ("https://github.com/$(id)", "the URL holds the character `$`"),
    ("https://github.com/{{a}}", "the URL holds the character `{`"),
    ("https://github.com/a b", "the URL holds a space, U+0020"),
    (" https://github.com/a", "the URL holds a space, U+0020"),
    ("https://github.com/a ", "the URL holds a space, U+0020"),
    ("https://github.com/a\n", "the URL holds a control character, U+000A"),
    ("https://git\thub.com/a", "the URL holds a control character, U+0009"),
    ("\0https://github.com/a", "the URL holds a control character, U+0000"),
    ("https://github.com/a\u{7f}", "the URL holds a control character, U+007F"),
    ("https://github.com/a\u{85}", "the URL holds a line separator, U+0085"),
    ("https://github.com/a\u{2028}", "the URL holds a line separator, U+2028"),
    ("https://github.com/a\u{202e}", "the URL holds a mark of text direction, U+202E"),
    ("https://github.com/a\u{2066}", "the URL holds a mark of text direction, U+2066"),
    ("https://git\u{200b}hub.com/a", "the URL holds an invisible character, U+200B"),
    ("https://git\u{ad}hub.com/a", "the URL holds an invisible character, U+00AD"),
    ("\u{feff}https://github.com/a", "the URL holds an invisible character, U+FEFF"),
    ("https://github.com/a\u{a0}", "the URL holds a space, U+00A0"),
    ("https://gíthub.com/a", "the URL holds a character outside of ASCII, U+00ED"),
    ("https://１２７.0.0.1/a", "the URL holds a character outside of ASCII, U+FF11"),
    ("https://①②⑦.0.0.1/a", "the URL holds a character outside of ASCII, U+2460"),
    ("https://127。0。0。1/a", "the URL holds a character outside of ASCII, U+3002"),
    ("https://", "the URL has no host"),
    ("https:///a", "the URL has no host"),
    ("https://:443/a", "the URL has no host"),
    ("https://github.com:/a", "`:` is no port"),
    ("https://github.com:0/a", "`:0` is no port"),
    ("https://github.com:0443/a", "`:0443` is no port"),
    ("https://github.com:65536/a", "`:65536` is no port"),
    ("https://github.com:99999999999999999999/a", "`:99999999999999999999` is no port"),
    ("https://github.com:+1/a", "`:+1` is no port"),
    ("https://github.com:a/b", "`:a` is no port"),
    ("https://github.com:80:80/a", "`:80:80` is no port"),
    ("https://[::1/a", "`::1` is no port"),
    ("https://[2606:4700::1]80/a", "`80` is no port"),
    ("https://github.com./a", "`github.com.` is no valid name of a host"),
    ("https://.github.com/a", "`.github.com` is no valid name of a host"),
    ("https://github..com/a", "`github..com` is no valid name of a host"),
    ("https://-x.github.com/a", "`-x.github.com` is no valid name of a host"),
    ("https://x-.github.com/a", "`x-.github.com` is no valid name of a host"),
    ("https://a_b.github.com/a", "`a_b.github.com` is no valid name of a host"),
    ("https://~/a", "`~` is no valid name of a host"),
    ("https://./a", "`.` is no valid name of a host"),
    ("https://xn--a.org/a", "`xn--a.org` is no valid name of a host"),
    ("https://github.com/../a", "`/../a` can be read in more than one way"),
    ("https://github.com/a/./b", "`/a/./b` can be read in more than one way"),
    ("https://github.com/a/..", "`/a/..` can be read in more than one way"),
];

#[test]
fn what_is_no_plain_remote_is_refused() {
    for (text, want) in NOT_PLAIN {
        assert_eq!(verdict(text), Err((*want).to_owned()), "{text:?}");
    }
}

#[test]
fn names_of_local_networks_are_refused() {
    for name in [
        "localhost",
        "LOCALHOST",
        "intranet",
        "a",
        "a.localhost",
        "gitlab.local",
        "git.internal",
        "metadata.google.internal",
        "a.home.arpa",
        "1.0.0.127.in-addr.arpa",
        "a.lan",
        "A.LAN",
        "a.home",
        "a.corp",
        "a.private",
        "a.intranet",
        "a.localdomain",
        "a.test",
        "a.onion",
    ] {
        let text = format!("https://{name}/a");
        let lower = name.to_ascii_lowercase();
        assert_eq!(
            verdict(&text),
            Err(format!("`{lower}` is a name of a local network")),
            "{text}"
        );
    }
    for name in ["localhost.", "a.localhost.", "a.local."] {
        let text = format!("https://{name}/a");
        assert_eq!(verdict(&text), Err(format!("`{name}` is no valid name of a host")), "{text}");
    }
}

#[test]
fn addresses_that_are_not_public_are_refused_in_every_spelling() {
    for (host, what) in [
        ("127.0.0.1", "a loopback address"),
        ("127.1", "a loopback address"),
        ("127.0.1", "a loopback address"),
        ("2130706433", "a loopback address"),
        ("0x7f000001", "a loopback address"),
        ("0X7F000001", "a loopback address"),
        ("017700000001", "a loopback address"),
        ("0x7f.1", "a loopback address"),
        ("0177.0.0.1", "a loopback address"),
        ("0177.0x0.00.1", "a loopback address"),
        ("127.0.0.1.", "a loopback address"),
        ("127.000.000.001", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("0", "an unspecified address"),
        ("0.0.0.0", "an unspecified address"),
        ("0x0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("10.0.0.1", "a private address"),
        ("10.1", "a private address"),
        ("012.0.0.1", "a private address"),
        ("172.16.0.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("192.168.1.1", "a private address"),
        ("192.168.257", "a private address"),
        ("3232235777", "a private address"),
        ("100.64.0.1", "an address behind a carrier's NAT"),
        ("100.127.255.255", "an address behind a carrier's NAT"),
        ("169.254.169.254", "a link-local address"),
        ("2852039166", "a link-local address"),
        ("0xa9.0xfe.0xa9.0xfe", "a link-local address"),
        ("192.0.0.8", "a reserved address"),
        ("192.0.2.1", "a documentation address"),
        ("198.51.100.1", "a documentation address"),
        ("203.0.113.1", "a documentation address"),
        ("192.88.99.1", "a 6to4 address"),
        ("198.18.0.1", "a benchmarking address"),
        ("198.19.255.255", "a benchmarking address"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.255", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a broadcast address"),
        ("4294967295", "a broadcast address"),
        ("[::1]", "a loopback address"),
        ("[0:0:0:0:0:0:0:1]", "a loopback address"),
        ("[::0.0.0.1]", "a loopback address"),
        ("[::]", "an unspecified address"),
        ("[::127.0.0.1]", "an IPv4-compatible address"),
        ("[::ffff:127.0.0.1]", "an IPv4-mapped address"),
        ("[::ffff:7f00:1]", "an IPv4-mapped address"),
        ("[::ffff:8.8.8.8]", "an IPv4-mapped address"),
        ("[::ffff:0:127.0.0.1]", "a reserved address"),
        ("[64:ff9b::7f00:1]", "a NAT64 address"),
        ("[64:ff9b::127.0.0.1]", "a NAT64 address"),
        ("[64:ff9b:1::7f00:1]", "a NAT64 address"),
        ("[2002:7f00:1::]", "a 6to4 address"),
        ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "a Teredo address"),
        ("[2001:10::1]", "a reserved address"),
        ("[2001:db8::1]", "a documentation address"),
        ("[3fff::1]", "a documentation address"),
        ("[100::1]", "a reserved address"),
        ("[fc00::1]", "a private address"),
        ("[fd00:ec2::254]", "a private address"),
        ("[FD00::1]", "a private address"),
        ("[fe80::1]", "a link-local address"),
        ("[fec0::1]", "a reserved address"),
        ("[ff02::1]", "a multicast address"),
        ("[4000::1]", "a reserved address"),
    ] {
        for text in
            [format!("https://{host}/a"), format!("https://{host}:8443"), format!("https://{host}")]
        {
            assert_eq!(verdict(&text), Err(format!("`{host}` is {what}")), "{text}");
        }
    }
}

#[test]
fn public_addresses_pass_in_one_spelling_only() {
    for (host, kind) in [
        ("16843009", "can be read in more than one way"),
        ("1.257", "can be read in more than one way"),
        ("0x1.1.1.1", "can be read in more than one way"),
        ("01.1.1.1", "can be read in more than one way"),
        ("1.1.1.1.", "can be read in more than one way"),
        ("[2606:4700:4700:0::1111]", "can be read in more than one way"),
        ("[2606:4700::0001]", "can be read in more than one way"),
        ("[2606:4700::1.1.1.1]", "can be read in more than one way"),
        ("1.1.1.1.1", "is no valid name of a host"),
        ("256.1.1.1", "is no valid name of a host"),
        ("4294967296", "is no valid name of a host"),
        ("09.1.1.1", "is no valid name of a host"),
        ("1.1.1.1..", "is no valid name of a host"),
        ("example.1", "is no valid name of a host"),
        ("example.0x1", "is no valid name of a host"),
        ("[2606:4700::1::1]", "is no valid name of a host"),
        ("[v1.x]", "is no valid name of a host"),
        ("[]", "is no valid name of a host"),
    ] {
        assert_eq!(
            verdict(&format!("https://{host}/a")),
            Err(format!("`{host}` {kind}")),
            "{host}"
        );
    }
}

#[test]
fn the_policy_can_be_widened_by_what_it_names_alone() {
    let policy =
        wide(&[Scheme::Git, Scheme::Https], &["127.0.0.0/8", "::1", "Git.Internal", "forge"]);
    for text in [
        "https://127.0.0.1:8000/a",
        "git://127.255.0.1/a",
        "https://[::1]/a",
        "git://[::1]:9418/a",
        "https://git.internal/a",
        "https://GIT.internal/a",
        "git://forge/a",
        "git://github.com/a",
    ] {
        assert!(policy.check(text).is_ok(), "{text}: {:?}", policy.check(text));
    }
    for (text, want) in [
        ("http://127.0.0.1/a", "the scheme `http` is not allowed"),
        ("git://127.1/a", "`127.1` can be read in more than one way"),
        ("git://2130706433/a", "`2130706433` can be read in more than one way"),
        ("git://10.0.0.1/a", "`10.0.0.1` is a private address"),
        ("git://[::ffff:127.0.0.1]/a", "`[::ffff:127.0.0.1]` is an IPv4-mapped address"),
        ("git://user@127.0.0.1/a", "the URL carries credentials"),
        ("https://localhost/a", "`localhost` is a name of a local network"),
        ("https://x.git.internal/a", "`x.git.internal` is a name of a local network"),
        ("https://git.internal./a", "`git.internal.` is no valid name of a host"),
        ("git://127.0.0.1/../a", "`/../a` can be read in more than one way"),
    ] {
        assert_eq!(judge(&policy, text), Err(want.to_owned()), "{text}");
    }
    for text in ["127.1", "", "a b", "-a", "10.0.0.0/33", "a.", "*.internal", "é", "[::1]", "a/8"]
    {
        assert!(text.parse::<HostRule>().is_err(), "{text}");
    }
    for text in ["ssh", "file", "HTTPS", "ext", ""] {
        assert!(text.parse::<Scheme>().is_err(), "{text}");
    }
    assert_eq!("10.1.2.3/8".parse::<HostRule>(), "10.0.0.0/8".parse());
}

#[test]
fn length_is_limited_and_messages_are_cut() {
    let policy = RemotePolicy::default();
    let longest = format!("https://example.org/{}", "a".repeat(MAX_LENGTH - 20));
    assert!(policy.check(&longest).is_ok());
    assert_eq!(policy.check(&format!("{longest}a")), Err(BadRemote::TooLong(MAX_LENGTH + 1)));
    let message =
        verdict(&format!("ext::\u{1b}[31m`\u{202e}{}", "a".repeat(900))).expect_err("refused");
    assert!(message.starts_with(r"`ext::\u{1b}[31m\u{60}\u{202e}aaa"), "{message}");
    assert!(message.ends_with("a...` names a transport of git's"), "{message}");
}

/// git says which transport it would use before it would use it; with all of them forbidden, that is
/// all it does.
#[test]
fn git_sees_plain_https_in_what_passes() {
    for (text, _) in PUBLIC {
        let output = Command::new("git")
            .args(["-c", "protocol.allow=never", "ls-remote", text])
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("LC_ALL", "C")
            .output()
            .expect("git is needed for this test");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.trim(), "fatal: transport 'https' not allowed", "{text}");
    }
}
