module platform.example/test

go 1.26

toolchain go1.26.10
