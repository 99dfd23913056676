// register FIXED MOVING OUTPUT [MODEL] [FIXED-MASK]: two scans, with or without a model, to files in a folder.
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Reports;

if (args.Length is < 3 or > 5)
{
    Console.Error.WriteLine("register FIXED MOVING OUTPUT [MODEL|none] [FIXED-MASK]");
    return 2;
}

using Registrar registrar = args.Length > 3 && args[3] != "none" ? new(StudentModel.Load(args[3])) : new();
RegistrationOptions options = new()
{
    Prealignment = Prealignment.Auto,
    FixedMask = args.Length > 4 ? Volume.Read(args[4]) : null,
};
RegistrationResult result = registrar.Register(Volume.Read(args[0]), Volume.Read(args[1]), options);
Directory.CreateDirectory(args[2]);
result.Moved.Write(Path.Combine(args[2], "moved.nii.gz"));
result.Field.Write(Path.Combine(args[2], "field.nii.gz"));
result.Inverse().Write(Path.Combine(args[2], "inverse.nii.gz"));
result.WriteReport(Path.Combine(args[2], "report.html"));
Console.WriteLine($"{result.Verdict}: {string.Join("; ", result.Quality.Reasons)}");
return result.Verdict == Verdict.Failed ? 3 : 0;
