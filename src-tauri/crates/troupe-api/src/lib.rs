//! Every operation of the studio as a plain function, with wire types and error codes.
