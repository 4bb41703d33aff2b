# Sourced by scripts/services.sh: one authority, and one certificate for every
# server and for clients that show one, in .cache/services/tls.

make_certificates() {
	openssl x509 -noout -checkend 86400 -in "$tls/server.crt" >/dev/null 2>&1 && return
	echo "services: making certificates"
	local part=$tls.part
	rm -rf "$part"
	mkdir -p "$part"
	{
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=Rookery tests' \
			-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$part/ca.key" -out "$part/ca.crt"
		openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' -keyout "$part/server.key" -out "$part/server.csr"
		printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n' >"$part/server.ext"
		openssl x509 -req -in "$part/server.csr" -CA "$part/ca.crt" -CAkey "$part/ca.key" -CAcreateserial -days 3649 \
			-extfile "$part/server.ext" -out "$part/server.crt"
	} >"$cache/openssl.log" 2>&1 || { cat "$cache/openssl.log" >&2; fail "openssl could not make certificates"; }
	cat "$part/server.key" "$part/server.crt" "$part/ca.crt" >"$part/server.pem" # what Kafka and Cassandra read
	rm -rf "$tls"
	mv "$part" "$tls"
}

tls_env() {
	echo "TLS_CA=$tls/ca.crt"
	echo "TLS_CERT=$tls/server.crt"
	echo "TLS_KEY=$tls/server.key"
}
