-- +goose Up
CREATE TABLE greetings (
    name  text    PRIMARY KEY,
    times integer NOT NULL DEFAULT 1
);
