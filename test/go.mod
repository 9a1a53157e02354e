module platform.example/test

go 1.26
