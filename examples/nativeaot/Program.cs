// ldr-register MODEL FIXED MOVING MOVED [FIELD]
using System.Diagnostics;
using System.Globalization;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

if (args.Length is < 4 or > 5)
{
    Console.Error.WriteLine("ldr-register MODEL FIXED MOVING MOVED [FIELD]");
    return 2;
}

long start = Stopwatch.GetTimestamp();
try
{
    StudentModel model = StudentModel.Load(args[0]);
    Volume fixedScan = Volume.Read(args[1]);
    Volume movingScan = Volume.Read(args[2]);
    using Registrar registrar = new(model);
    RegistrationResult result = registrar.Register(fixedScan, movingScan);
    result.Moved.Write(args[3]);
    if (args.Length == 5)
    {
        result.Field.Write(args[4]);
    }

    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"network {result.Times.Network.TotalMilliseconds:F0} ms, warp {result.Times.Warp.TotalMilliseconds:F0} ms, registration {result.Times.Total.TotalMilliseconds:F0} ms, with files {Stopwatch.GetElapsedTime(start).TotalMilliseconds:F0} ms"));
    return 0;
}
catch (InvalidFileException error)
{
    Console.Error.WriteLine($"ldr-register: {error.Message}");
    return 1;
}
