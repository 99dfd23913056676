// register MODEL FIXED MOVING MOVED FIELD
using Ldr.Runtime;

using Registrar registrar = new(StudentModel.Load(args[0]));
RegistrationResult result = registrar.Register(Volume.Read(args[1]), Volume.Read(args[2]));
result.Moved.Write(args[3]);
result.Field.Write(args[4]);
Console.WriteLine($"{result.Field.MeanLengthMm:F2} mm moved on average, {result.TotalTime.TotalMilliseconds:F0} ms");
