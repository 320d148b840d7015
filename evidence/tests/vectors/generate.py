"""Writes checkpoint.note and encodings.hex from the specifications (RFC 6962, RFC 8949, C2SP signed-note), sharing no
code with the crate, so that the vectors are a second opinion. Run in evidence/ with Python's `cryptography`;
prints the id that the test of src/finding.rs expects.
"""
import hashlib, struct, base64
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
H=lambda b: hashlib.sha256(b).digest()
leaves=[bytes.fromhex(x) for x in ["","00","10","2021","3031","40414243","5051525354555657","606162636465666768696a6b6c6d6e6f"]]
lh=[H(b"\0"+l) for l in leaves]
def mth(d):
    if not d: return H(b"")
    if len(d)==1: return d[0]
    k=1<<((len(d)-1).bit_length()-1)
    return H(b"\1"+mth(d[:k])+mth(d[k:]))
sk=Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
pk=sk.public_key().public_bytes(Encoding.Raw,PublicFormat.Raw)
ws=b"\x11"*16
origin=f"sourceos-syncd/1/log/{ws.hex()}/{pk.hex()}/2"
def body(n): return f"{origin}\n{n}\n{base64.b64encode(mth(lh[:n])).decode()}\n".encode()
name=f"sourceos-syncd/{pk.hex()}"
kid=H(name.encode()+b"\n\x01"+pk)[:4]
note=body(8)+b"\n"+"\u2014 ".encode()+name.encode()+b" "+base64.b64encode(kid+sk.sign(body(8)))+b"\n"
open("tests/vectors/checkpoint.note","wb").write(note)
def head(m,n):
    if n<24: return bytes([m<<5|n])
    for ai,f in ((24,">B"),(25,">H"),(26,">I"),(27,">Q")):
        if n < 1<<(8*struct.calcsize(f)): return bytes([m<<5|ai])+struct.pack(f,n)
def enc(v):
    if v is None: return b"\xf6"
    if isinstance(v,int): return head(0,v)
    if isinstance(v,bytes): return head(2,len(v))+v
    if isinstance(v,str): return head(3,len(v.encode()))+v.encode()
    if isinstance(v,list): return head(4,len(v))+b"".join(map(enc,v))
t=1_700_000_000_000_000
ms=t//1000
op=((ms&(2**48-1))<<80 | 7<<76 | (t%1000)<<64 | 0b10<<62 | 1).to_bytes(16,"big")
log=[ws,pk,2]
record=[1,op,t,"agent:scribe",b"\2"*32,2,2,1,[[0,[log]],7,3],None,b"\3"*32,"not on a Sunday",b"\1\2\3"]
finding=[1,"3b6a27bc/2",2,"two histories of one log","remove the device and pair it again",9,9,1,b"\4"*32]
cp=[7,mth(lh[:7]),sk.sign(body(7))]
tree=[7,[mth(lh[:4]),mth(lh[4:6]),lh[6]]]
open("tests/vectors/encodings.hex","w").write("".join(f"{n} {enc(v).hex()}\n" for n,v in (("record",record),("finding",finding),("checkpoint",cp),("tree",tree))))
x=b"sourceos-syncd/1/finding"
for p in (b"log_fork",b"aabb/0"): x+=struct.pack(">Q",len(p))+p
print(H(x).hex())
