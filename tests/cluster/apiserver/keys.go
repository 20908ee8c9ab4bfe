package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long certificates are good for; a folder outlives no test.
const validity = 24 * time.Hour

// writeKeys puts authority, serving certificate, key of the service accounts, token and kubeconfig into the folder, unless
// they are there, and gives the token of an administrator.
func writeKeys(folder string, port int) (string, error) {
	in := func(name string) string { return filepath.Join(folder, name) }
	if token, err := os.ReadFile(in("token")); err == nil {
		return string(token), nil
	}
	authority, err := writeCertificates(in)
	if err != nil {
		return "", err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	if err := writeKey(in("accounts.key"), accounts); err != nil {
		return "", err
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	token := hex.EncodeToString(secret)
	files := map[string]string{
		"tokens.csv": token + ",admin,admin,system:masters\n",
		"ca.crt":     string(authority),
		"kubeconfig": kubeconfig(in("ca.crt"), port, token),
	}
	for name, text := range files {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	// The last one: what is there is whole.
	return token, os.WriteFile(in("token"), []byte(token), 0o600)
}

// writeCertificates writes the serving certificate and its key, and gives the authority.
func writeCertificates(in func(string) string) ([]byte, error) {
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	authority := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test cluster"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	server := x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		DNSNames:     []string{"localhost", "kubernetes.default.svc"},
		// The second one is that of the Service `kubernetes`.
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 43, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	made, err := x509.CreateCertificate(rand.Reader, &authority, &authority, root.Public(), root)
	if err != nil {
		return nil, err
	}
	signed, err := x509.CreateCertificate(rand.Reader, &server, &authority, key.Public(), root)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(in("server.crt"), certificate(signed), 0o600); err != nil {
		return nil, err
	}
	return certificate(made), writeKey(in("server.key"), key)
}

func certificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func kubeconfig(authority string, port int, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {server: "https://127.0.0.1:%d", certificate-authority: %q}
users:
- name: admin
  user: {token: %q}
contexts:
- name: test
  context: {cluster: test, user: admin}
`, port, authority, token)
}
