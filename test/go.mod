module platform.example/test

go 1.26.0

toolchain go1.26.10

require (
	golang.org/x/sys v0.48.0
	gopkg.in/yaml.v3 v3.0.1
)
