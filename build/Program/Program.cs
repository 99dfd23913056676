return Ldr.Cli.Program.main(args);
