//! Whether the cryptography does what the specifications say.

use std::sync::OnceLock;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::jwt::{
    algorithm::Algorithm,
    header::Parts,
    keys::{KeyError, VerificationKey},
};

/// Whether signatures from the specifications are verified, and others refused: tried once in each
/// process.
pub(crate) fn passes() -> bool {
    static PASSES: OnceLock<bool> = OnceLock::new();
    *PASSES.get_or_init(|| VECTORS.iter().all(|vector| holds(vector).unwrap_or(false)))
}

fn holds((algorithm, key, token): &(Algorithm, &str, &str)) -> Result<bool, KeyError> {
    let key = match algorithm {
        Algorithm::Hs256 => {
            let secret = BASE64_URL_SAFE_NO_PAD.decode(key);
            VerificationKey::hs256_secret(secret.map_err(|_| KeyError::Size)?)?
        }
        _ => VerificationKey::from_jwk(key)?,
    };
    let parts = Parts::split(token.as_bytes()).map_err(|_| KeyError::Jwk)?;
    let mut signature = parts.signature().map_err(|_| KeyError::Jwk)?;
    let right = key.verifies(*algorithm, parts.message, &signature);
    signature[7] ^= 1;
    Ok(right && !key.verifies(*algorithm, parts.message, &signature))
}

/// RFC 7515 appendices A.1 to A.3 and RFC 8037 appendix A.4.
pub(crate) const VECTORS: [(Algorithm, &str, &str); 4] = [
    (
        Algorithm::Hs256,
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog\
         Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjX\
         k",
    ),
    (
        Algorithm::Rs256,
        r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
         LmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZm\
         h7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyT\
         yWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt\
         FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Io\
         ypGlUPQGe77Rw",
    ),
    (
        Algorithm::Es256,
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
         LmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISl\
         SApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    (
        Algorithm::EdDsa,
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PG\
         cvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cryptography_passes() {
        for vector in &VECTORS {
            assert_eq!(holds(vector), Ok(true), "{}", vector.0);
        }
        assert!(passes());
    }

    #[test]
    fn a_wrong_vector_does_not_pass() {
        let (algorithm, key, token) = VECTORS[3];
        let token = token.replace("RXhh", "RXhi");
        assert_ne!(holds(&(algorithm, key, &token)), Ok(true));
        assert_ne!(holds(&(Algorithm::Es256, key, VECTORS[2].2)), Ok(true));
    }
}
