//! Why a file holds no usable signing key, and what to do about it.

/// Why a file holds no usable signing key. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is larger than `MAX_KEY_FILE`.
    #[error("is larger than 64 KiB, which no private key is")]
    TooLarge,
    /// It has no PEM block, and is nothing else that is known.
    #[error("is not a PEM file")]
    NotPem,
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It has a PEM block that has no end or cannot be decoded.
    #[error("is damaged: a block has no END line, or what stands in it is no base64")]
    Broken,
    /// It is UTF-16 text.
    #[error("is UTF-16 text, not ASCII or UTF-8")]
    Utf16,
    /// It is the base64 of a key in DER: PEM without its first and last line.
    #[error("holds the base64 of a key without the lines -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----")]
    Bare,
    /// It is JSON, such as a JWK.
    #[error("holds JSON, as a JWK is, not PEM")]
    Json,
    /// It is a PKCS#12 store.
    #[error("is a PKCS#12 store (.p12, .pfx), not PEM")]
    Pkcs12,
    /// It is a key in PuTTY's format.
    #[error("is in PuTTY's own format")]
    Putty,
    /// It is DER instead of PEM.
    #[error("is a DER file, not PEM")]
    Der,
    /// The key is encrypted: `ENCRYPTED PRIVATE KEY`, or the older `Proc-Type: 4,ENCRYPTED`.
    #[error("is encrypted with a passphrase")]
    Encrypted,
    /// The key is in OpenSSH's format: `OPENSSH PRIVATE KEY`.
    #[error("is in OpenSSH's own format")]
    OpenSsh,
    /// It holds a certificate or a public key; the label of the first block.
    #[error("holds a {0}, not a private key")]
    NotPrivate(String),
    /// It holds two private keys.
    #[error("holds more than one private key")]
    Several,
    /// The key can sign neither RS384 nor ES384.
    #[error("holds {0} key; client assertions are signed with an RSA or an EC P-384 key")]
    Unsupported(&'static str),
    /// The RSA key is shorter than `MIN_RSA_BITS`.
    #[error("holds an RSA key of {0} bits; at least 2048 are needed")]
    TooShort(usize),
    /// The RSA key is longer than `MAX_RSA_BITS`.
    #[error("holds an RSA key of {0} bits; at most 8192 are supported")]
    TooLong(usize),
    /// The label is right, but the block holds no such key.
    #[error("is damaged: its {0} block holds no valid key")]
    Damaged(&'static str),
}

impl KeyError {
    /// Returns what to do about it: a line for the terminal, in which `{file}` stands for the file's name.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Der => "convert it:  openssl pkey -inform DER -in {file} -out {file}.pem",
            Self::Encrypted => {
                "decrypt it:  openssl pkey -in {file} -out {file}.plain.pem  (and keep that file readable by the gateway alone)"
            }
            Self::OpenSsh => "convert a copy:  cp -np {file} {file}.pkcs8.pem && ssh-keygen -p -m PKCS8 -f {file}.pkcs8.pem",
            Self::NotPrivate(_) => {
                "name the private key's file here; the public half is registered at OpenEMR through the JWK Set"
            }
            Self::Several => "keep one key per file",
            Self::Broken => "copy it again, whole: from the line -----BEGIN to the line -----END",
            Self::Utf16 => "save it as UTF-8:  iconv -f UTF-16 -t UTF-8 {file} > {file}.pem",
            Self::Bare => "decode it:  openssl base64 -d -A -in {file} | openssl pkey -inform DER -out {file}.pem",
            Self::Json => "convert the key to PEM, which begins with -----BEGIN PRIVATE KEY-----",
            Self::Pkcs12 => "take the key out:  openssl pkcs12 -in {file} -nocerts -nodes -out {file}.pem",
            Self::Putty => "convert it:  puttygen {file} -O private-openssh -o {file}.pem",
            Self::Empty
            | Self::TooLarge
            | Self::NotPem
            | Self::Unsupported(_)
            | Self::TooShort(_)
            | Self::TooLong(_)
            | Self::Damaged(_) => "create one:  openemr-gateway keys generate --out keys",
        }
    }
}
