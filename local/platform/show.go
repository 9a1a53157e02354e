package platform

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"platform.example/local/deploy"
	"platform.example/local/file"
	"platform.example/local/node"
)

//go:embed welcome.txt
var welcome string

var welcomeText = template.Must(template.New("welcome").Parse(welcome))

// welcome prints the last screen of up: the running platform, its address, and example commands.
func (p *Platform) welcome(ctx context.Context, target deploy.Target) error {
	outputs, err := p.stack.Outputs(ctx, target)
	if err != nil {
		return err
	}
	curl, err := p.curl(outputs)
	if err != nil {
		return err
	}
	suffix := ""
	if !p.ownNode() {
		suffix = " CONTEXT=" + p.options.Context
	}
	return welcomeText.Execute(p.out, map[string]any{"Took": p.log.Elapsed(), "URL": outputs.URL, "Suffix": suffix, "Curl": curl})
}

// authorityFile is the path of the certificate authority for clients, below the clone.
const authorityFile = "bin/ca.pem"

// curl returns a curl command that trusts the platform. It writes the authority's file for it, or removes an obsolete one.
func (p *Platform) curl(outputs deploy.Outputs) (string, error) {
	path := filepath.Join(p.layout.Repo, authorityFile)
	if outputs.Authority == "" {
		return "curl", os.RemoveAll(path)
	}
	if err := file.Write(path, []byte(outputs.Authority), 0o644); err != nil {
		return "", err
	}
	return "curl --cacert " + authorityFile, nil
}

// deployed returns an error if nothing is deployed to the context.
func (p *Platform) deployed() error {
	if _, err := os.Stat(p.layout.Pulumi()); err != nil {
		return fmt.Errorf("nothing is deployed to context %s: run make up CONTEXT=%[1]s REGISTRY=<registry>", p.options.Context)
	}
	return nil
}

// Status prints the health of each component, the state of the stack, and the URLs.
func (p *Platform) Status(ctx context.Context) error {
	var faults []error
	if p.ownNode() {
		unwell, err := p.nodeStatus(ctx)
		if err != nil {
			return err
		}
		faults = append(faults, unwell)
	} else if err := p.deployed(); err != nil {
		return err
	}
	target := p.target(node.New(p.layout, nil, p.log))
	if resources, err := p.stack.Resources(); err != nil {
		faults = append(faults, err)
	} else {
		fmt.Fprintf(p.out, "\nstack %s: %d resources\n", deploy.Stack, resources)
	}
	kubectl := filepath.Join(p.layout.Bin(), "kubectl")
	if _, err := os.Stat(kubectl); err != nil {
		kubectl = "kubectl"
	}
	cmd := exec.CommandContext(ctx, kubectl, "get", "deployments,statefulsets", "--all-namespaces", "--request-timeout=5s")
	cmd.Env = append(os.Environ(), p.stack.Environment(target)...)
	if !p.ownNode() {
		cmd.Args = append(cmd.Args, "--context", p.options.Context)
	}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Run(); err != nil {
		faults = append(faults, fmt.Errorf("ask the cluster: %w", err))
	}
	if outputs, err := p.stack.Outputs(ctx, target); err != nil {
		faults = append(faults, err)
	} else {
		fmt.Fprintf(p.out, "\nAPI: %s\nplatform version: %s\n", outputs.URL, outputs.Version)
	}
	return errors.Join(faults...)
}

// nodeStatus prints a line per component. unwell names the unhealthy components.
func (p *Platform) nodeStatus(ctx context.Context) (unwell, err error) {
	components, err := node.New(p.layout, nil, p.log).Status(ctx)
	if err != nil {
		return nil, err
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tHEALTH\tPROCESS\tSINCE\tRESTARTS\tLAST END")
	for _, c := range components {
		health := "healthy"
		if c.Fault != nil {
			health = c.Fault.Error()
			unwell = errors.Join(unwell, fmt.Errorf("%s is not healthy: see make logs C=%[1]s", c.Name))
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%s\n", c.Name, health, c.PID, c.Since.Format(time.DateTime), c.Restarts, c.LastExit)
	}
	return unwell, table.Flush()
}

// Logs prints the end of a component's log; with follow, it also prints new lines.
func (p *Platform) Logs(ctx context.Context, component string, follow bool) error {
	logs, err := filepath.Glob(filepath.Join(p.layout.Logs(), "*.log"))
	if err != nil {
		return err
	}
	var names []string
	for _, log := range logs {
		name := strings.TrimSuffix(filepath.Base(log), ".log")
		if name == component {
			cmd := exec.CommandContext(ctx, "tail", "-n", "100", log)
			if follow {
				cmd.Args = append(cmd.Args, "-F")
			}
			cmd.Stdout, cmd.Stderr = p.out, p.out
			if err := cmd.Run(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("show %s: %w", log, err)
			}
			return nil
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return fmt.Errorf("there are no logs in %s: is the platform up?", p.layout.Logs())
	}
	return fmt.Errorf("no component %q: want C=<one of %s>", component, strings.Join(names, ", "))
}

// Env prints the environment of the platform for a shell: eval "$(make -s env)".
func (p *Platform) Env() error {
	n := node.New(p.layout, nil, p.log)
	if p.ownNode() {
		if _, err := os.Stat(p.layout.Bin()); errors.Is(err, os.ErrNotExist) {
			return errors.New("there is no platform: make up creates it")
		}
		if err := n.FindDocker(); err != nil {
			return err
		}
	} else if err := p.deployed(); err != nil {
		return err
	}
	if err := p.stack.Link(); err != nil {
		return err
	}
	fmt.Fprintf(p.out, "export PATH='%s':\"$PATH\"\n", p.layout.Bin())
	for _, variable := range p.stack.Environment(p.target(n)) {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(p.out, "export %s='%s'\n", name, value)
	}
	return nil
}

// Token signs in as the demo user and prints the access token.
func (p *Platform) Token(ctx context.Context) error {
	target := p.target(node.New(p.layout, nil, p.log))
	outputs, err := p.stack.Outputs(ctx, target)
	if err != nil {
		return err
	}
	if _, err := p.curl(outputs); err != nil { // the next command needs its file, and the authority may have been rotated
		return err
	}
	body, _ := json.Marshal(map[string]string{"email": outputs.DemoEmail, "password": outputs.DemoPassword}) // strings always encode
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, outputs.URL+"/api/auth/token", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := trusting(outputs.Authority).Do(request)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Detail      string `json:"detail"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return fmt.Errorf("sign in: %s returns %s %s", request.URL, response.Status, answer.Detail)
	}
	fmt.Fprintln(p.out, answer.AccessToken)
	return nil
}

// trusting returns a client that trusts the authority, if there is one, beside the system's authorities.
func trusting(authority string) *http.Client {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM([]byte(authority))
	return &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
}
