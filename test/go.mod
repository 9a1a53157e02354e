module platform.example/test

go 1.26

toolchain go1.26.10

require gopkg.in/yaml.v3 v3.0.1
