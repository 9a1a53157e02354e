// Command load uses the platform on this machine as its users do, says each second how that goes, and fails if anything
// was lost:
//
//	cd test && go run ./cmd/load -ca ../bin/ca.pem -rate 300 -for 1m
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"platform.example/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var options load.Options
	flag.StringVar(&options.BaseURL, "url", "https://localhost:30443", "where the API is, on this machine")
	flag.Float64Var(&options.Rate, "rate", 100, "requests a second")
	flag.DurationVar(&options.Duration, "for", time.Minute, "how long, at most 14m")
	flag.IntVar(&options.Users, "users", 0, "how many users send them (default: as many as the gateway's usual limit takes)")
	flag.Float64Var(&options.NewConnections, "new", 0.1, "the share of requests that open a connection each; below 0: none")
	authority := flag.String("ca", "", "a PEM `file` with who vouches for the server (default: whom the system trusts)")
	file := flag.String("json", "", "a `file` to write all that was seen into")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: only flags are known, see -help", flag.Args())
	}
	if *authority != "" {
		pool, err := read(*authority)
		if err != nil {
			return err
		}
		options.RootCAs = pool
	}

	running, err := load.Start(ctx, options)
	if err != nil {
		return err
	}
	watch(running)
	result := running.Stop()
	fmt.Print(result.Summary())
	if *file != "" {
		err = write(*file, result)
	}
	// Also after an interruption: what was acknowledged must be there, and the users go.
	return errors.Join(err, failed(result), running.Settle(context.WithoutCancel(ctx)))
}

// failed is short, since the summary has told all.
func failed(result load.Result) error {
	if result.Err() != nil {
		return errors.New("the load failed")
	}
	return nil
}

func read(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("-ca: %s holds no certificate in PEM", path)
	}
	return pool, nil
}

// watch prints what became of the requests that were done within each second, until the run ends.
func watch(running *load.Run) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seen := 0; ; {
		select {
		case <-running.Done():
			return
		case at := <-tick.C:
			samples := running.Samples(seen)
			seen += len(samples)
			fmt.Println(at.Format(time.TimeOnly), load.Result{Samples: samples}.Line())
		}
	}
}

func write(path string, result load.Result) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return errors.Join(json.NewEncoder(file).Encode(result), file.Close())
}
